"""The whole road of one case on one page: read, judge, write the answer."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from qcnode.assess.model_card import ModelCard
from qcnode.assess.verdict import Limits, judge
from qcnode.case import Assessment, Case, Prediction, Reason, ReasonCode, ResultObject, Stack, Verdict, Weights
from qcnode.durable import flush, make_directories
from qcnode.errors import Rejected
from qcnode.headers import read_dataset, read_header
from qcnode.imaging.grid import Grid, Volume, resampled
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import SeriesVolume, read_series
from qcnode.outcome import (
    ObjectFile,
    Outcome,
    Predicted,
    Query,
    TissueNumbers,
    read_outcome,
    write_outcome,
)
from qcnode.report.inputs import Judging, Predecessor, ReportInputs
from qcnode.report.results import write_results
from qcnode.tissues import map_segments, tissue_masks


class Predictor(Protocol):
    """What predicts: packaged weights. card: the model card. weights: what to record beside a verdict."""

    card: ModelCard
    weights: Weights

    def predict(self, contrasts: Mapping[str, Volume], query: npt.NDArray[np.bool_]) -> Prediction:
        """See qcnode.assess.inference.QCPredictor.predict."""
        ...


@dataclass(frozen=True, slots=True)
class Judge:
    """What judges the cases of one task: networks and the limits that turn their numbers into a verdict."""

    predictor: Predictor
    limits: Limits

    @property
    def judging(self) -> Judging:
        """The judging configuration, as it goes into the report and into the UIDs of the results."""
        description, nsd = self.limits.describe(), self.limits.predicted_nsd
        digest = sha256(description.encode()).hexdigest()
        return Judging(digest, description, dsc_threshold=self.limits.predicted_dsc.value, nsd_threshold=nsd.value if nsd else None)


@dataclass(slots=True)
class _Findings:
    """What is known of a case so far: filled step by step, and reported as far as it came."""

    source: SeriesVolume | None = None
    further_contrasts: Mapping[str, Volume] = field(default_factory=dict)  # on the grid of `source`
    query_masks: npt.NDArray[np.bool_] | None = None
    notes: tuple[Reason, ...] = ()  # recorded with the verdict
    doubts: tuple[Reason, ...] = ()  # recorded, and no PASS with them
    tissue_segments: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    timings_ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Measure a step of the road."""
        start = perf_counter()
        yield
        self.timings_ms[step] = round((perf_counter() - start) * 1000, 1)


def assess_case(
    case: Case,
    judge_of_task: Judge,
    directory: Path,
    *,
    created: datetime,
    version: str,
    predecessor: Predecessor | None = None,
    announce: bool = False,
) -> Outcome:
    """Judge one case and write its result files to `directory`, which afterwards holds all of them.

    A directory that exists was settled before: its files are the answer and are never made again. Raises OSError where the disk fails;
    whatever is wrong with the case itself becomes an UNASSESSABLE verdict. announce: a flagged case gets a key object.
    """
    if directory.exists():
        return read_outcome(directory)
    findings = _Findings()
    try:
        assessment = _assess(case, judge_of_task, findings)
    except Rejected as rejection:
        assessment = Assessment(Verdict.UNASSESSABLE, (rejection.reason,), None, judge_of_task.predictor.weights)
    inputs = _report_inputs(case, assessment, judge_of_task, findings, created, version, predecessor)
    unfinished = directory.with_name(directory.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    make_directories(unfinished)
    with findings.timed("report"):
        objects = write_results(inputs, unfinished, announce=announce)
    outcome = _outcome(inputs, objects, findings.timings_ms)
    write_outcome(outcome, unfinished)
    _settle(unfinished, directory)
    return outcome


def _assess(case: Case, judge_of_task: Judge, findings: _Findings) -> Assessment:
    if case.problem is not None:
        # the images still make the report and the preview better, where they can be read
        with suppress(Rejected):
            _read_source(case, findings)
        raise Rejected(case.problem.code, case.problem.text)
    source = _read_source(case, findings)
    with findings.timed("read_segmentation"):
        query = _read_query(case, judge_of_task, findings, source.volume.grid)
    with findings.timed("resample_contrasts"):
        contrasts = _contrasts(case, source)
    findings.further_contrasts = {name: volume for name, volume in contrasts.items() if name != case.reference_contrast}
    with findings.timed("predict"):
        prediction = judge_of_task.predictor.predict(contrasts, query)
    prediction = replace(prediction, notes=(*prediction.notes, *findings.doubts))
    verdict, reasons = judge(prediction, judge_of_task.limits)
    # numbers that nobody should trust are not reported: neither in the SR nor as an error map
    reported = None if verdict is Verdict.UNASSESSABLE else prediction
    return Assessment(verdict, (*reasons, *findings.notes, *prediction.remarks), reported, judge_of_task.predictor.weights)


def _read_source(case: Case, findings: _Findings) -> SeriesVolume:
    if case.reference_contrast not in case.contrasts:
        raise Rejected(ReasonCode.IMAGES_MISSING, "no image of the segmentation is at hand")
    with findings.timed("read_images"):
        findings.source = read_series(case.contrasts[case.reference_contrast].frames)
    return findings.source


def _read_query(case: Case, judge_of_task: Judge, findings: _Findings, grid: Grid) -> npt.NDArray[np.bool_]:
    """The query's tissues (tissue, z, y, x) on the grid of its images."""
    card = judge_of_task.predictor.card
    tissues = card.tissue_list()
    mapping = map_segments(read_header(case.query.path).segments, card.structure_list())
    findings.tissue_segments = {t.name: tuple(n for s in t.structures for n in mapping.get(s, ())) for t in tissues}
    wanted = {number for numbers in mapping.values() for number in numbers}
    segmentation = read_segmentation(case.query.path, grid, segment_numbers=wanted)
    findings.query_masks = tissue_masks(segmentation.masks, segmentation.segment_numbers, mapping, tissues)
    if segmentation.resampled:
        text = "the segmentation lies on another grid than its images and was resampled with nearest neighbour"
        findings.notes = (Reason(ReasonCode.SEG_RESAMPLED, text),)
    if segmentation.outside_voxels:
        text = f"{segmentation.outside_voxels} segmented voxels lie outside of the images and were not judged"
        findings.doubts = (Reason(ReasonCode.PARTIAL_COVERAGE, text),)
    if not findings.query_masks.any():
        raise Rejected(ReasonCode.EMPTY_SEGMENTATION, "no voxel belongs to a tissue of the task")
    return findings.query_masks


def _contrasts(case: Case, source: SeriesVolume) -> dict[str, Volume]:
    """All contrasts on the grid that the query was drawn on."""
    volumes = {case.reference_contrast: source.volume}
    for name, stack in case.contrasts.items():
        if name not in volumes:
            volumes[name] = resampled(read_series(stack.frames).volume, source.volume.grid)
    return volumes


def _report_inputs(
    case: Case,
    assessment: Assessment,
    judge_of_task: Judge,
    findings: _Findings,
    created: datetime,
    version: str,
    predecessor: Predecessor | None,
) -> ReportInputs:
    planes = findings.source.planes if findings.source else ()
    further = [stack for name, stack in case.contrasts.items() if name != case.reference_contrast]
    drawn_on = [case.contrasts[case.reference_contrast]] if case.reference_contrast in case.contrasts else []
    return ReportInputs(
        case=case,
        assessment=assessment,
        query=read_dataset(case.query.path, stop_before_pixels=True),
        sources=_headers(drawn_on),
        further_sources=_headers(further),
        planes=planes,
        volume=findings.source.volume if findings.source else None,
        query_masks=findings.query_masks,
        tissues=judge_of_task.predictor.card.tissue_list(),
        judging=judge_of_task.judging,
        created=created,
        version=version,
        predecessor=predecessor,
        tissue_segments=findings.tissue_segments,
        further_contrasts=findings.further_contrasts,
    )


def _headers(stacks: Iterable[Stack]) -> tuple[Dataset, ...]:
    """Each instance of the stacks once, without its pixels."""
    paths = dict.fromkeys(frame.path for stack in stacks for frame in stack.frames)
    return tuple(read_dataset(path, stop_before_pixels=True) for path in paths)


def _outcome(inputs: ReportInputs, objects: tuple[ResultObject, ...], timings_ms: dict[str, float]) -> Outcome:
    case, assessment, prediction = inputs.case, inputs.assessment, inputs.assessment.prediction
    return Outcome(
        case_id=case.case_id,
        study_instance_uid=case.study_instance_uid,
        query=Query(case.query.series_instance_uid, case.query.sop_instance_uid),
        task=case.task,
        weights=assessment.weights,
        device=prediction.device if prediction else None,
        predicted=_predicted(prediction) if prediction else None,
        verdict=assessment.verdict,
        reasons=assessment.reasons,
        completeness_evidence=case.completeness_evidence,
        timings_ms=timings_ms,
        objects=tuple(ObjectFile(o.kind, o.path.name, o.sop_class_uid, o.sop_instance_uid, o.sha256) for o in objects),
        judging_digest=inputs.judging.digest,
        qcnode_version=inputs.version,
        created=inputs.created.isoformat(),
    )


def _predicted(prediction: Prediction) -> Predicted:
    return Predicted(
        dsc=prediction.predicted_dsc,
        nsd=prediction.predicted_nsd,
        tolerance_mm=prediction.tolerance_mm,
        per_tissue={t: TissueNumbers(prediction.per_tissue_dsc.get(t), n) for t, n in prediction.error_voxels.items()},
        dsc_interval=prediction.dsc_interval,
        nsd_interval=prediction.nsd_interval,
        interval_level=prediction.interval_level,
        image_p_value=prediction.image_p_value,
        query_p_value=prediction.query_p_value,
        spread_features=prediction.spread_features or None,
    )


def _settle(unfinished: Path, directory: Path) -> None:
    """Make the result durable, then give it its name: a reader sees all files or none."""
    for path in (*unfinished.iterdir(), unfinished):
        flush(path)
    unfinished.rename(directory)
    flush(directory.parent)
