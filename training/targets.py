"""What the network shall say of a query: DSC and NSD against the reference, on the whole source grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from qcnode.assess import metrics

Labels = npt.NDArray[np.uint8]


def tissue_channels(labels: Labels, tissues: int) -> npt.NDArray[np.bool_]:
    """Segmentation (tissue, z, y, x) out of labels (z, y, x) where each tissue is one structure."""
    return np.stack([labels == i + 1 for i in range(tissues)])


def quality_targets(
    query: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_], spacing: tuple[float, float, float], tolerance_mm: float
) -> npt.NDArray[np.float32]:
    """DSC, NSD (both pooled) and DSC per tissue of a query (tissue, z, y, x), in the order of the network's outputs."""
    found = metrics.agreement(query, reference, spacing, tolerance_mm)
    return np.array([found.dsc, found.nsd, *found.dsc_per_tissue], np.float32)
