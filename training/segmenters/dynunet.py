"""A U-Net in nnU-Net's shape (MONAI DynUNet), on slices with their neighbours or on whole stacks, with few filters."""

from __future__ import annotations

from monai.networks.nets import DynUNet
from torch import nn

from training.segmenters import SegmenterSettings
from training.segmenters.field import Folded

_FLAT_LEVELS = 2  # of the 3-D network: slices lie too far apart to be convolved across there


def planar(settings: SegmenterSettings, contrasts: int, classes: int) -> nn.Module:
    """The 2-D network; see training.segmenters.field.Build."""
    levels = len(settings.widths)
    inner = DynUNet(
        spatial_dims=2,
        in_channels=contrasts * settings.slices * settings.fold**2,
        out_channels=classes * settings.fold**2,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=settings.widths,
        norm_name="batch",
    )
    return Folded(inner, fold=settings.fold, slices=settings.slices, volumetric=False)


def volumetric(settings: SegmenterSettings, contrasts: int, classes: int) -> nn.Module:
    """The 3-D network, which never halves the number of slices; see training.segmenters.field.Build."""
    levels = len(settings.widths)
    inner = DynUNet(
        spatial_dims=3,
        in_channels=contrasts * settings.fold**2,
        out_channels=classes * settings.fold**2,
        kernel_size=[(1 if level < _FLAT_LEVELS else 3, 3, 3) for level in range(levels)],
        strides=[(1, 1, 1)] + [(1, 2, 2)] * (levels - 1),
        upsample_kernel_size=[(1, 2, 2)] * (levels - 1),
        filters=settings.widths,
        norm_name="batch",
    )
    return Folded(inner, fold=settings.fold, slices=settings.slices, volumetric=True)
