"""A real heart (ACDC, see docs/testing.md) as a cine series of three phases with segmentations of the middle one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from reading_room import SentCase, sent_case

from qcnode.demo.phantom_dicom import mr_series, seg_of
from qcnode.demo.scanner import Study
from training.cohorts import acdc

PATIENT = "patient019"  # of the validation patients
PHASES, PHASE = 3, 1
BASAL = 2  # slices that the hasty segmenter leaves out


@dataclass(frozen=True)
class Heart:
    """`good`: the expert's segmentation; `bad`: the same, displaced; `hasty`: without the basal slices, to which it does not refer."""

    study: Study
    images: list[Dataset]
    expert: npt.NDArray[np.bool_]
    good: Dataset
    bad: Dataset
    hasty: Dataset

    @property
    def judged_images(self) -> list[Dataset]:
        """The images of the phase that was segmented, base first."""
        slices = len(self.images) // PHASES
        return self.images[PHASE * slices : (PHASE + 1) * slices]


def failed_heart(realdata: Path) -> SentCase:
    """One phase with a segmentation without its basal slices, a little beside the heart."""
    end_diastole = acdc.load(realdata / "acdc", [PATIENT])[0]
    drawn = np.roll(np.stack([end_diastole.labels == i for i in (1, 2, 3)]), (2, 3), (2, 3))
    base = int(np.flatnonzero(drawn.any((0, 2, 3)))[0])
    drawn[:, : base + BASAL] = False
    return sent_case("heart", end_diastole.volume, drawn, "hasty", "PEER^HEART")


def real_heart(realdata: Path) -> Heart:
    end_diastole = acdc.load(realdata / "acdc", [PATIENT])[0]
    study = Study("a real heart", "PEER^HEART", "QCPEER", "QCPEER-1", "Cardiac MR")
    images = mr_series(end_diastole.volume, study, phases=PHASES, phase=PHASE)
    expert = np.stack([end_diastole.labels == i for i in (1, 2, 3)])
    base = int(np.flatnonzero(expert.any((0, 2, 3)))[0])
    without_base = expert.copy()
    without_base[:, : base + BASAL] = False
    apical = range(base + BASAL, expert.shape[1])
    return Heart(
        study,
        images,
        expert,
        good=seg_of(expert, images, study, phase=PHASE, series_number=100, segmenter="expert"),
        bad=seg_of(np.roll(expert, (9, 9), (2, 3)), images, study, phase=PHASE, series_number=101, segmenter="displaced"),
        hasty=seg_of(without_base, images, study, phase=PHASE, slices=apical, series_number=102, segmenter="hasty"),
    )
