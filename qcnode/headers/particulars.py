"""Whose study a case is of, where its images were made and who drew the query: what a radiologist must see to be sure, and filters by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from qcnode.errors import Rejected
from qcnode.headers.elements import first_item, items, text
from qcnode.headers.instances import read_dataset


@dataclass(frozen=True, slots=True)
class Particulars:
    """Texts are "" where unknown, dates as written (YYYYMMDD). Patient data: for the radiologist's worklist only, never logged."""

    patient_name: str
    patient_id: str
    birth_date: str
    study_date: str
    accession_number: str
    institution: str
    scanner: str
    segmenter: str


def read_particulars(query: Path, image: Path | None) -> Particulars:
    """Patient and study from the SEG at `query`, institution and scanner from one of its images, where it can be read.

    Raises Rejected where `query` is not a readable DICOM file.
    """
    drawn = read_dataset(query, stop_before_pixels=True)
    images = _readable(image)
    return Particulars(
        patient_name=text(drawn, "PatientName"),
        patient_id=text(drawn, "PatientID"),
        birth_date=text(drawn, "PatientBirthDate"),
        study_date=text(drawn, "StudyDate"),
        accession_number=text(drawn, "AccessionNumber"),
        institution=text(images, "InstitutionName") or text(drawn, "InstitutionName"),
        scanner=_scanner(images),
        segmenter=_segmenter(drawn),
    )


def _readable(image: Path | None) -> Dataset:
    try:
        return Dataset() if image is None else read_dataset(image, stop_before_pixels=True)
    except Rejected:
        return Dataset()


def _scanner(image: Dataset) -> str:
    """Maker and model, then the station, which tells two scanners of a kind apart: "SIEMENS Aera, MR2"."""
    return ", ".join(filter(None, (_product(image), text(image, "StationName"))))


def _segmenter(query: Dataset) -> str:
    """The algorithm by name; else the product that wrote the SEG; else what its series is called."""
    segment = first_item(query, "SegmentSequence")
    named = [text(segment, "SegmentAlgorithmName")]
    named += [text(algorithm, "AlgorithmName") for algorithm in items(segment, "SegmentationAlgorithmIdentificationSequence")]
    return next(filter(None, (*named, _product(query), text(query, "SeriesDescription"))), "")


def _product(dataset: Dataset) -> str:
    manufacturer, model = text(dataset, "Manufacturer"), text(dataset, "ManufacturerModelName")
    repeats = model.lower().startswith(manufacturer.lower())  # some write the maker into both
    return model if repeats else f"{manufacturer} {model}".strip()
