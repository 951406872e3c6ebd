"""What the network shall say of a query: DSC and NSD against the reference, on the whole source grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qcnode.assess.metrics import Reference

Labels = npt.NDArray[np.uint8]
Groups = Sequence[Sequence[int]]


def tissue_channels(labels: Labels, groups: Groups) -> npt.NDArray[np.bool_]:
    """Segmentation (tissue, z, y, x) out of labels (z, y, x); groups[i] are the label values whose union is tissue i."""
    most = max(int(labels.max(initial=0)), *(v for group in groups for v in group))
    member = np.zeros((len(groups), most + 1), bool)
    for i, group in enumerate(groups):
        member[i, list(group)] = True
    return np.stack([labels == group[0] if len(group) == 1 else member[i][labels] for i, group in enumerate(groups)])


def quality_targets(query: npt.NDArray[np.bool_], reference: Reference) -> npt.NDArray[np.float32]:
    """DSC, NSD (both pooled) and DSC per tissue of a query (tissue, z, y, x), in the order of the network's outputs."""
    found = reference.agreement(query)
    return np.array([found.dsc, found.nsd, *found.dsc_per_tissue], np.float32)
