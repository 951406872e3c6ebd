"""The cohorts by name, as a recipe's `cohort` gives it."""

from __future__ import annotations

from collections.abc import Sequence

from qcnode.assess.model_card import Contrast, StructureFacts
from qcnode.errors import ConfigurationError
from qcnode.tissues import Structure
from training.cohorts import Cohort, acdc, brats, la2018, mmwhs, wmh
from training.cohorts.dicom import DicomCohort

_PUBLIC: dict[str, Cohort] = {"acdc": acdc, "brats": brats, "la2018": la2018, "mmwhs": mmwhs, "wmh": wmh}
_DICOM = "dicom"

NAMES = tuple(sorted([*_PUBLIC, _DICOM]))
"""Names that `cohort_of` knows; the folder of a cohort's data bears its name."""


def cohort_of(
    name: str, structures: Sequence[StructureFacts] = (), contrasts: Sequence[Contrast] = (), labels: Sequence[str] = ()
) -> Cohort:
    """The cohort of this name.

    structures, contrasts: those of the recipe's or the model's card; only "dicom" needs them, because a site's own studies have no labels
    and contrasts but those that the card describes. labels: for "dicom", names of structures in the order of its labels; that of
    `structures` if empty. Raises ConfigurationError where the name is unknown, "dicom" lacks them, or a label is no structure.
    """
    if name == _DICOM:
        if not structures or not contrasts:
            raise ConfigurationError("Cohort dicom needs the structures and contrasts of a recipe's card.")
        if unknown := sorted(set(labels) - {s.name for s in structures}):
            raise ConfigurationError(f"Cohort dicom: the card has no structure {', '.join(unknown)}.")
        return DicomCohort([Structure(s.name, s.codes, s.label_pattern) for s in structures], contrasts, labels)
    if name not in _PUBLIC:
        raise ConfigurationError(f"No cohort is named {name!r}; known are {', '.join(NAMES)}.")
    return _PUBLIC[name]
