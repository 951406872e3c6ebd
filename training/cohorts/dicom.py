"""A folder of DICOM studies, so that a site trains on its own data: a folder per patient, SEGs in reference/ and query/, images anywhere.

    <folder>/<patient>/[any folders/]*             MR images, classic or Enhanced, as the PACS exports them
    <folder>/<patient>/[any folders/]reference/*   one SEG per examination that experts drew: what is true
    <folder>/<patient>/[any folders/]query/*       SEGs that segmenters drew on the same images; may be absent

What a SEG is, is told by the folder that it lies in and by nothing else. Every reference SEG is one examination. Its images are found by
what it names, further contrasts by the series rules of the card, among the series of its study; they are resampled onto the grid of the
images that the reference was drawn on, as qcnode does it. Segments become structures by codes and labels as in qcnode.tissues.

Names of folders and files appear in messages, records and file names of a run: let them be pseudonyms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qcnode.assess.model_card import Contrast
from qcnode.case import FrameRef
from qcnode.imaging.grid import Volume, resampled
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import SeriesVolume, read_series
from qcnode.tissues import Structure, map_segments
from training.cohorts import LabelledVolume
from training.cohorts.dicom_studies import Held, PatientFiles, drawn_on, further_contrasts, named_sources, names_any, read_patient
from training.cohorts.loading import Faults
from training.cohorts.splits import check_folder, split_patients

Labels = npt.NDArray[np.uint8]


class DicomCohort:
    """Studies read by the structures and contrasts of a card; it satisfies training.cohorts.Cohort.

    structures: in the order in which a SEG's labels are tried. labels: names of those that become labels 1, 2 ..., all if empty; voxels of
    any other structure are background.
    """

    def __init__(self, structures: Sequence[Structure], contrasts: Sequence[Contrast], labels: Sequence[str] = ()) -> None:
        self._structures = tuple(structures)
        self._contrasts = tuple(contrasts)
        self.STRUCTURES = tuple(labels) or tuple(s.name for s in structures)
        self.CONTRASTS = tuple(c.name for c in contrasts)

    def patients(self, folder: Path) -> dict[str, tuple[str, ...]]:
        """Patients (folders of `folder`) by split; without lists every 8th is for validation."""
        check_folder(folder)
        return split_patients(folder, (p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))

    def load(self, folder: Path, names: Sequence[str]) -> list[LabelledVolume]:
        """The examinations of these patients. Every broken one is found first and reported in one ConfigurationError."""
        faults = Faults()
        loaded: list[LabelledVolume] = []
        for patient in names:
            files = read_patient(folder / patient, faults)
            loaded += self._examinations(patient, files, faults)
        faults.tell()
        return loaded

    def _examinations(self, patient: str, files: PatientFiles, faults: Faults) -> list[LabelledVolume]:
        drawn: dict[Held, tuple[FrameRef, ...]] = {}
        for reference in files.references:
            with faults.of(f"{patient}, {reference.name}"):
                drawn[reference] = drawn_on(reference, files)
        queries: dict[Held, list[Held]] = {reference: [] for reference in drawn}
        for query in files.queries:
            with faults.of(f"{patient}, {query.name}"):
                queries[_reference_of(query, drawn)].append(query)
        loaded: list[LabelledVolume] = []
        for number, (reference, frames) in enumerate(drawn.items(), start=1):
            name = patient if len(files.references) == 1 else f"{patient}-{number}"
            with faults.of(f"{patient}, {reference.name}"):
                source = read_series(frames)
                labels = self._reference_labels(reference, source)
                volumes = self._volumes(reference, frames, source, files)
                judged = self._queries_labels(patient, queries[reference], source, faults)
                loaded.append(LabelledVolume(patient, name, volumes, labels, judged))
        return loaded

    def _volumes(self, reference: Held, frames: Sequence[FrameRef], source: SeriesVolume, files: PatientFiles) -> tuple[Volume, ...]:
        """Each contrast on the grid of `source`, in the card's order."""
        volumes = []
        for chosen in further_contrasts(self._contrasts, reference, frames, files).values():
            if chosen == tuple(frames):
                volumes.append(source.volume)
            else:
                volumes.append(resampled(read_series(chosen).volume, source.volume.grid))
        return tuple(volumes)

    def _reference_labels(self, reference: Held, source: SeriesVolume) -> Labels:
        labels, outside = self._labels(reference, source)
        if outside:
            raise ValueError(f"{outside} segmented voxels lie outside of the images")
        if not labels.any():
            raise ValueError("the labels are empty")
        return labels

    def _queries_labels(self, patient: str, queries: Sequence[Held], source: SeriesVolume, faults: Faults) -> tuple[Labels, ...]:
        """Queries may be empty or stick out of the images, as segmenters' results do; what sticks out is lost."""
        drawn = []
        for query in queries:
            with faults.of(f"{patient}, {query.name}"):
                drawn.append(self._labels(query, source)[0])
        return tuple(drawn)

    def _labels(self, segmentation: Held, source: SeriesVolume) -> tuple[Labels, int]:
        """Labels (z, y, x) of a SEG on the grid of its images, and how many of its voxels lie outside.

        Raises ValueError where it has another frame of reference, no known segment, or voxels of two structures, and what read_segmentation
        raises.
        """
        header = segmentation.header
        if len({header.frame_of_reference_uid, source.frame_of_reference_uid} - {None}) > 1:
            raise ValueError("it has another frame of reference than its images")
        mapping = map_segments(header.segments, self._structures)
        if not mapping:
            raise ValueError("no segment is a structure of the card, by its code or by its label")
        wanted = {number for numbers in mapping.values() for number in numbers}
        read = read_segmentation(segmentation.path, source.volume.grid, segment_numbers=wanted)
        labels = np.zeros(source.volume.grid.size, np.uint8)
        for label, structure in enumerate(self.STRUCTURES, start=1):
            rows = [read.segment_numbers.index(number) for number in mapping.get(structure, ())]
            inside = read.masks[rows].any(axis=0)
            if (labels[inside] > 0).any():
                raise ValueError(f"voxels of {structure} belong to another structure as well")
            labels[inside] = label
        return labels, read.outside_voxels


def _reference_of(query: Held, drawn: dict[Held, tuple[FrameRef, ...]]) -> Held:
    """The reference that was drawn on the query's images; the only one, where the query names no images."""
    if not drawn:
        raise ValueError("no reference of this patient can be used")
    nameless = len(drawn) == 1 and not named_sources(query.header)
    fitting = [r for r, frames in drawn.items() if nameless or names_any(query.header, frames)]
    if len(fitting) != 1:
        raise ValueError(f"{len(fitting)} references were drawn on its images instead of one")
    return fitting[0]
