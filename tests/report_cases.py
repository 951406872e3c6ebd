"""One judged case, built in code: a short-axis stack of a heart, a query SEG and its prediction."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from qcnode.case import Assessment, Case, FrameRef, Prediction, QueryRef, Reason, ReasonCode, Stack, Verdict, Weights
from qcnode.imaging.grid import Grid, Volume
from qcnode.report.inputs import Judging, Predecessor, ReportInputs
from qcnode.tissues import Tissue

STUDY, SERIES, QUERY_SERIES, FRAME = "1.2.3.1", "1.2.3.2", "1.2.3.3", "1.2.3.4"
SIZE = (9, 112, 128)
TISSUES = (
    Tissue("right ventricle", ("right ventricle",), ("53085002", "SCT", "Right ventricle")),
    Tissue("myocardium", ("myocardium",), ("74281007", "SCT", "Myocardium")),
    Tissue("left ventricle", ("left ventricle",), ("87878005", "SCT", "Left ventricle")),
)
# An oblique short axis: row and column cosines, then the normal, all of unit length.
ROW = np.array([0.8, 0.48, -0.36])
COLUMN = np.array([0.0, 0.6, 0.8])
OBLIQUE = Grid(
    SIZE,
    (8.0, 1.5, 1.5),
    (-70.0, -90.0, 30.0),
    (tuple(np.cross(ROW, COLUMN).tolist()), tuple(COLUMN.tolist()), tuple(ROW.tolist())),
)
REASONS = {
    Verdict.PASS: Reason(ReasonCode.ABOVE_THRESHOLD, "predicted DSC 0.93 is above 0.75"),
    Verdict.FAIL: Reason(ReasonCode.BELOW_THRESHOLD, "predicted DSC 0.47 is below 0.75"),
    Verdict.REVIEW: Reason(ReasonCode.NEAR_THRESHOLD, "predicted DSC 0.76 is within 0.05 of 0.75"),
    Verdict.UNASSESSABLE: Reason(ReasonCode.SEVERAL_IMAGES_PER_POSITION, "several images lie at one position"),
}
DSC = {Verdict.PASS: 0.93, Verdict.FAIL: 0.47, Verdict.REVIEW: 0.76}


def heart(shift: tuple[int, int] = (0, 0), thick: float = 8.0) -> np.ndarray:
    """Tissue masks (tissue, z, y, x) of a heart; nothing in the first and last slice."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    y, x = y - 58 - shift[0], x - 70 - shift[1]
    radius = np.sqrt(y**2 + x**2)
    inner = 17 - 1.3 * np.abs(z - 3.5)
    inside = (z > 0) & (z < SIZE[0] - 1)
    ventricle = (radius < inner) & inside
    myocardium = (radius < inner + thick) & ~ventricle & inside
    right = (((y + 2) / 26) ** 2 + ((x + 24) / 20) ** 2 < 1) & ~ventricle & ~myocardium & inside & (z < 7)
    return np.stack([right, myocardium, ventricle])


def values(tissues: np.ndarray) -> np.ndarray:
    """Something like a cine slice of these tissues."""
    noise = np.random.default_rng(0).normal(0, 12, SIZE)
    _, y, x = np.meshgrid(*(np.arange(n) for n in SIZE), indexing="ij")
    body = ((y - 56) / 50) ** 2 + ((x - 64) / 58) ** 2 < 1
    array = np.where(body, 110.0 + 30 * np.sin(x / 9) * np.cos(y / 11), 12.0)
    array[tissues[1]], array[tissues[0]], array[tissues[2]] = 70, 225, 245
    return (array + noise).clip(0).astype(np.float32)


def classic(grid: Grid = OBLIQUE) -> tuple[Dataset, ...]:
    """MR headers, one per slice of `grid`, with z index 0 as the *last* file."""
    headers = []
    for z in range(grid.size[0]):
        header = _patient(Dataset())
        header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID = MRImageStorage, f"1.2.3.2.{z + 1}", SERIES
        header.Modality, header.FrameOfReferenceUID, header.PositionReferenceIndicator = "MR", FRAME, ""
        header.InstanceNumber = grid.size[0] - z
        header.Rows, header.Columns, header.PixelSpacing = grid.size[1], grid.size[2], list(grid.spacing[1:])
        header.SliceThickness = 8.0
        header.ImageOrientationPatient = [*grid.direction[2], *grid.direction[1]]
        header.ImagePositionPatient = position(grid, z)
        headers.append(header)
    return tuple(headers)


def enhanced(grid: Grid = OBLIQUE, phases: int = 2) -> tuple[Dataset, tuple[FrameRef, ...]]:
    """An Enhanced MR header with all slices of `phases` phases, and the planes of its second phase."""
    header = _patient(Dataset())
    header.SOPClassUID, header.SOPInstanceUID, header.SeriesInstanceUID = EnhancedMRImageStorage, "1.2.3.2.100", SERIES
    header.Modality, header.FrameOfReferenceUID, header.InstanceNumber = "MR", FRAME, 1
    header.Rows, header.Columns, header.NumberOfFrames = grid.size[1], grid.size[2], grid.size[0] * phases
    shared = Dataset()
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [*grid.direction[2], *grid.direction[1]]
    shared.PixelMeasuresSequence = [Dataset()]
    shared.PixelMeasuresSequence[0].PixelSpacing = list(grid.spacing[1:])
    shared.PixelMeasuresSequence[0].SliceThickness = 8.0
    header.SharedFunctionalGroupsSequence = [shared]
    frames, planes = [], []
    for z in range(grid.size[0]):
        for phase in range(phases):
            frame = Dataset()
            frame.PlanePositionSequence = [Dataset()]
            frame.PlanePositionSequence[0].ImagePositionPatient = position(grid, z)
            frames.append(frame)
            if phase == phases - 1:
                planes.append(FrameRef(Path("enhanced.dcm"), header.SOPInstanceUID, len(frames)))
    header.PerFrameFunctionalGroupsSequence = frames
    return header, tuple(planes)


def position(grid: Grid, z: int) -> list[float]:
    """ImagePositionPatient of slice z."""
    return [round(float(v), 6) for v in np.asarray(grid.origin) + z * grid.spacing[0] * np.asarray(grid.direction[0])]


def query_seg(images: tuple[Dataset, ...], tissues: np.ndarray) -> Dataset:
    """A query SEG of highdicom: one segment per tissue."""
    algorithm = hd.AlgorithmIdentificationSequence("segmenter", Code("123110", "DCM", "Artificial Intelligence"), "1.0")
    segments = [
        hd.seg.SegmentDescription(
            i,
            tissue.name,
            Code("123037004", "SCT", "Anatomical Structure"),
            Code(*tissue.code),
            hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
            tracking_uid=f"1.2.3.5.{i}",
            tracking_id=f"tissue {i}",
        )
        for i, tissue in enumerate(TISSUES, 1)
    ]
    seg = hd.seg.Segmentation(
        list(images),
        np.moveaxis(tissues, 0, -1).astype(np.uint8),
        hd.seg.SegmentationTypeValues.BINARY,
        segments,
        QUERY_SERIES,
        7,
        "1.2.3.3.1",
        1,
        "ACME",
        "Segmenter",
        "1.0",
        "1",
    )
    return seg


def build(
    verdict: Verdict = Verdict.FAIL, *, images: bool = True, is_enhanced: bool = False, predecessor: bool = False, grid: Grid = OBLIQUE
) -> ReportInputs:
    """One case with this verdict. images=False: no image is at hand."""
    reference = heart()
    wrong = {Verdict.PASS: heart((0, 1)), Verdict.REVIEW: heart((2, 2))}.get(verdict, heart((5, 9), 4.0))
    headers, planes = classic(grid), tuple(FrameRef(Path(f"{z}.dcm"), f"1.2.3.2.{z + 1}") for z in range(grid.size[0]))
    query = query_seg(headers, wrong)
    if is_enhanced:
        header, planes = enhanced(grid)
        headers = (header,)
    judged = verdict is not Verdict.UNASSESSABLE
    stack = Stack(SERIES, planes)
    reason = REASONS[verdict] if images else Reason(ReasonCode.IMAGES_MISSING, "no image of the segmentation is at hand")
    prediction = _prediction(DSC[verdict], reference ^ wrong) if judged and images else None
    return ReportInputs(
        case=Case(
            case_id="c" * 64,
            study_instance_uid=STUDY,
            query=QueryRef(Path("query.dcm"), QUERY_SERIES, "1.2.3.3.1"),
            task="cardiac-sax",
            contrasts={"cine": stack} if images else {},
            reference_contrast="cine",
            completeness_evidence="archive-count" if images else "none",
            problem=None if images else reason,
        ),
        assessment=Assessment(verdict, (reason,), prediction, Weights("cardiac-sax", "1.0", "ab" * 32)),
        query=query,
        sources=tuple(reversed(headers)) if images else (),
        planes=planes if images else (),
        volume=Volume(values(reference), grid) if images else None,
        query_masks=wrong if images else None,
        tissues=TISSUES,
        judging=Judging("d" * 64, "FAIL below predicted DSC 0.70, PASS from 0.80, REVIEW between"),
        created=datetime(2026, 3, 4, 5, 6, 7, 890),
        version="0.1.0",
        predecessor=Predecessor("1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.6.1", "1.2.3.6", STUDY) if predecessor else None,
        tissue_segments={t.name: (i,) for i, t in enumerate(TISSUES, 1)} if images else {},
    )


def with_intervals(inputs: ReportInputs) -> ReportInputs:
    """The same case by calibrated weights: intervals at 90 %, and the threshold that they are held against."""
    found = inputs.assessment.prediction
    intervals = {"dsc_interval": (found.predicted_dsc - 0.09, found.predicted_dsc + 0.05), "nsd_interval": (0.21, 0.62)}
    prediction = replace(found, **intervals, interval_level=0.9, image_p_value=0.4, query_p_value=0.6)
    judging = replace(inputs.judging, dsc_threshold=0.75)
    return replace(inputs, assessment=replace(inputs.assessment, prediction=prediction), judging=judging)


def without_geometry(inputs: ReportInputs) -> ReportInputs:
    """The same case where the images were at hand, but could not be made a volume."""
    assessment = replace(inputs.assessment, verdict=Verdict.UNASSESSABLE, reasons=(REASONS[Verdict.UNASSESSABLE],), prediction=None)
    return replace(inputs, assessment=assessment, volume=None, planes=(), query_masks=None, tissue_segments={})


def _prediction(dsc: float, errors: np.ndarray) -> Prediction:
    per_tissue = {t.name: round(dsc - 0.05 * i, 2) for i, t in enumerate(TISSUES)}
    return Prediction(dsc, dsc - 0.08, 2.0, per_tissue, errors, tuple(t.name for t in TISSUES), "cpu")


def _patient(header: Dataset) -> Dataset:
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Doe^Jane", "P1", "19700101", "F"
    header.StudyInstanceUID, header.AccessionNumber, header.StudyID = STUDY, "A1", "S1"
    header.StudyDate, header.StudyTime, header.ReferringPhysicianName = "20260304", "010203", ""
    return header
