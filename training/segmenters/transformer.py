"""A transformer U-Net in nnFormer's place: Swin blocks as encoder, a convolutional decoder (MONAI SwinUNETR). Meant for a GPU."""

from __future__ import annotations

from monai.networks.nets import SwinUNETR
from torch import Tensor, nn
from torch.nn import functional

from qcnode.errors import ConfigurationError
from training.segmenters import SegmenterSettings
from training.segmenters.field import Folded

_MULTIPLE = 32  # SwinUNETR halves five times


class _Padded(nn.Module):
    """A network that needs sides that are multiples of a number, for any side."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, planes: Tensor) -> Tensor:
        """The network's output, cut to the size of the input."""
        y, x = planes.shape[-2:]
        logits: Tensor = self.inner(functional.pad(planes, (0, -x % _MULTIPLE, 0, -y % _MULTIPLE)))
        return logits[..., :y, :x]


def swin(settings: SegmenterSettings, contrasts: int, classes: int) -> nn.Module:
    """See training.segmenters.field.Build.

    settings.widths: features per level, the first a multiple of 12 (its heads), each further one (if any) twice the one above.
    """
    finest = settings.widths[0]
    if finest % 12 or any(w != finest << level for level, w in enumerate(settings.widths)):
        raise ConfigurationError(f"The transformer can not have widths {settings.widths}: a multiple of 12, then doubled each time.")
    inner = SwinUNETR(
        in_channels=contrasts * settings.slices * settings.fold**2,
        out_channels=classes * settings.fold**2,
        feature_size=finest,
        spatial_dims=2,
        norm_name="batch",  # deepest, a small square is a single pixel: nothing to normalise over
    )
    return Folded(_Padded(inner), fold=settings.fold, slices=settings.slices, volumetric=False)
