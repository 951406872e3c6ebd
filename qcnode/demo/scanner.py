"""MR objects as a scanner would write them: the parts that classic and Enhanced MR share, and the classic series.

Every UID follows from the study's seed, so that the same call gives the same objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from qcnode.imaging.grid import Grid, Volume, resample

Pixels = npt.NDArray[np.uint16]

HEART_CYCLE_MS = 900.0


@dataclass(frozen=True, slots=True)
class Study:
    """A made-up patient's study. `began` is local time without a zone, as in DICOM."""

    seed: str
    patient_name: str = "PHANTOM^QCNODE"
    patient_id: str = "QCNODE-PHANTOM"
    accession_number: str = "QCNODE-1"
    study_description: str = "Cardiac MR (phantom)"
    began: datetime = datetime(2026, 1, 5, 9, 30)

    def uid(self, *parts: object) -> UID:
        """A UID that belongs to this study: 2.25 and a UUID made of the seed and the parts (PS3.5 annex B.2)."""
        return UID(f"2.25.{uuid5(NAMESPACE_OID, ' / '.join(map(str, ('qcnode phantom', self.seed, *parts)))).int}")

    @property
    def study_instance_uid(self) -> UID:
        """Study Instance UID."""
        return self.uid("study")


def classic_mr(
    volume: Volume, study: Study, *, phases: int = 1, phase: int = 0, series_number: int = 1, series_description: str = "cine short axis"
) -> list[Dataset]:
    """A classic cine series (MR Image Storage) of `phases` heart phases; instance [p * slices + z] is slice z of phase p.

    `volume` is phase number `phase` (0-based), its values rounded to whole numbers, which must lie in 0 to 65535; the other phases are
    derived from it, the heart smaller. Raises ValueError where values lie outside.
    """
    instances = []
    for p in range(phases):
        pixels = phase_pixels(volume, p - phase, phases)
        for z in range(len(pixels)):
            dataset = _mr_header(volume.grid, study, series_number, series_description)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = study.uid("instance", series_number, p, z)
            dataset.InstanceNumber = z * phases + p + 1
            dataset.ImagePositionPatient = [format_number_as_ds(v) for v in position_of(volume.grid, z)]
            dataset.SliceLocation = format_number_as_ds(z * volume.grid.spacing[0])
            dataset.CardiacNumberOfImages = phases
            dataset.TriggerTime = format_number_as_ds(p * HEART_CYCLE_MS / phases)
            moment = study.began + timedelta(minutes=5, seconds=10 * z, milliseconds=p * HEART_CYCLE_MS / phases)
            dataset.AcquisitionTime = dataset.ContentTime = moment.strftime("%H%M%S.%f")
            set_pixels(dataset, pixels[z], float(volume.array.max()))
            instances.append(dataset)
    return instances


def position_of(grid: Grid, z: int) -> tuple[float, float, float]:
    """ImagePositionPatient (LPS, mm) of slice `z`."""
    x, y, z_ = (float(v) for v in (grid.affine @ (z, 0, 0, 1))[:3])
    return x, y, z_


def orientation_of(grid: Grid) -> tuple[float, ...]:
    """ImageOrientationPatient: direction of increasing column index, then of increasing row index."""
    return (*grid.direction[2], *grid.direction[1])


def phase_pixels(volume: Volume, offset: int, phases: int) -> Pixels:
    """Pixel values (z, y, x) `offset` phases away from the volume's own: the picture shrinks towards the middle of the cycle."""
    if offset == 0:
        values = volume.array
    else:
        widening = 1 + 0.15 * abs(float(np.sin(np.pi * offset / phases)))
        grid = volume.grid
        spacing = (grid.spacing[0], grid.spacing[1] * widening, grid.spacing[2] * widening)
        corner = Grid(grid.size, spacing, grid.origin, grid.direction)
        middle = [0, (grid.size[1] - 1) / 2, (grid.size[2] - 1) / 2, 1]
        x, y, z = (float(v) for v in np.asarray(grid.origin) + ((grid.affine - corner.affine) @ middle)[:3])
        values = resample(volume.array, grid, Grid(grid.size, spacing, (x, y, z), grid.direction), nearest=False).astype(np.float32)
    whole = np.rint(values)
    if whole.min() < 0 or whole.max() > np.iinfo(np.uint16).max:
        raise ValueError("pixel values must lie in 0 to 65535")
    return whole.astype(np.uint16)


def set_pixels(dataset: Dataset, pixels: Pixels, brightest: float) -> None:
    """Put pixel values (rows, columns) or (frames, rows, columns) into a data set; the window reaches to `brightest`."""
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12 if brightest < 4095.5 else 16
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = pixels.astype("<u2").tobytes()


def study_header(study: Study, sop_class_uid: UID, series_number: int, series_description: str) -> Dataset:
    """Patient, study, series, equipment and frame of reference of an MR object (PS3.3 sections C.7.1 to C.7.5)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = sop_class_uid
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = study.patient_name
    dataset.PatientID = study.patient_id
    dataset.PatientBirthDate = "19700101"
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = study.study_instance_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = study.began.strftime("%Y%m%d")
    dataset.StudyTime = study.began.strftime("%H%M%S")
    dataset.SeriesTime = (study.began + timedelta(minutes=5)).strftime("%H%M%S")
    dataset.StudyID = "1"
    dataset.AccessionNumber = study.accession_number
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = study.study_description
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = study.uid("series", series_number)
    dataset.SeriesNumber = series_number
    dataset.SeriesDescription = series_description
    dataset.BodyPartExamined = "HEART"
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = study.uid("frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "Phantom MR"
    dataset.ManufacturerModelName = "Phantom"
    dataset.DeviceSerialNumber = "0"
    dataset.SoftwareVersions = "1.0"
    return dataset


def _mr_header(grid: Grid, study: Study, series_number: int, series_description: str) -> Dataset:
    dataset = study_header(study, MRImageStorage, series_number, series_description)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.AcquisitionNumber = 1
    dataset.AcquisitionDate = study.began.strftime("%Y%m%d")
    dataset.ScanningSequence = "GR"
    dataset.SequenceVariant = "SS"
    dataset.ScanOptions = "CG"
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = format_number_as_ds(3.2)
    dataset.EchoTime = format_number_as_ds(1.6)
    dataset.EchoTrainLength = 1
    dataset.FlipAngle = 60
    dataset.MagneticFieldStrength = format_number_as_ds(1.5)
    dataset.NominalInterval = int(HEART_CYCLE_MS)
    dataset.ImageOrientationPatient = [format_number_as_ds(v) for v in orientation_of(grid)]
    dataset.PixelSpacing = [format_number_as_ds(v) for v in grid.spacing[1:]]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = format_number_as_ds(grid.spacing[0])
    return dataset
