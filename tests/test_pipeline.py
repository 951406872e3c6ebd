"""One case from files to files, with a predictor that says what the test wants."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from said_predictor import judge_that_says, prediction

from qcnode.assess.verdict import Limit, Limits
from qcnode.case import Case, FrameRef, QueryRef, Reason, ReasonCode, Stack, Verdict
from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study, seg_of
from qcnode.errors import Rejected
from qcnode.outcome import read_outcome
from qcnode.pipeline import Judge, assess_case
from qcnode.sampling import Sampling
from qcnode.workers.assess import settled_result

CREATED = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return phantom_study(3, phases=1, phase=0)


@pytest.fixture
def case(study: PhantomStudy, tmp_path: Path) -> Case:
    frames = []
    for i, dataset in enumerate(study.images):
        path = tmp_path / f"{i}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        frames.append(FrameRef(path, str(dataset.SOPInstanceUID)))
    return _case(study, study.queries[0].dataset, frames, tmp_path)


def _case(study: PhantomStudy, query: pydicom.Dataset, frames: list[FrameRef], folder: Path) -> Case:
    path = folder / "query.dcm"
    query.save_as(path, enforce_file_format=True)
    return Case(
        case_id="c" * 64,
        study_instance_uid=str(query.StudyInstanceUID),
        query=QueryRef(path, str(query.SeriesInstanceUID), str(query.SOPInstanceUID)),
        task="cardiac-sax",
        contrasts={"cine": Stack(str(study.images[0].SeriesInstanceUID), tuple(frames))},
        reference_contrast="cine",
        completeness_evidence="directory",
    )


def assess(case: Case, judge: Judge, out: Path):
    return assess_case(case, judge, out, created=CREATED, version="9.9.9")


def test_a_judged_case_has_all_its_files(case: Case, study: PhantomStudy, tmp_path: Path) -> None:
    judge = judge_that_says(prediction(0.9))
    outcome = assess(case, judge, tmp_path / "out")
    assert outcome.verdict is Verdict.PASS
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "verdict.json",
        "preview.png",
        "report.dcm",
        "error_map.dcm",
        "summary.dcm",
        "viewer",
    }
    assert read_outcome(tmp_path / "out") == outcome
    assert outcome.predicted is not None
    assert outcome.predicted.per_tissue["right ventricle"].error_voxels == 1
    assert set(outcome.timings_ms) >= {"read_images", "read_segmentation", "predict", "report"}
    # the phantom is drawn from base to apex; volumes are read along the slice normal, which points the other way here
    np.testing.assert_array_equal(judge.predictor.shown[0], study.queries[0].segmentation[:, ::-1])


def test_a_settled_directory_is_the_answer_and_is_not_made_again(case: Case, tmp_path: Path) -> None:
    first = assess(case, judge_that_says(prediction(0.9)), tmp_path / "out")
    again = judge_that_says(prediction(0.1))
    assert assess(case, again, tmp_path / "out") == first
    assert not again.predictor.shown


def test_what_a_crash_left_half_done_is_done_again(case: Case, tmp_path: Path) -> None:
    unfinished = tmp_path / "out.unfinished"
    unfinished.mkdir()
    (unfinished / "error_map.dcm").write_bytes(b"half")
    assess(case, judge_that_says(prediction(0.9)), tmp_path / "out")
    assert pydicom.dcmread(tmp_path / "out" / "error_map.dcm").Modality == "SEG"
    assert not unfinished.exists()


def test_an_empty_segmentation_is_unassessable(study: PhantomStudy, case: Case, tmp_path: Path) -> None:
    nothing = seg_of(study.queries[0].segmentation, study.images, study.study)
    nothing.PixelData = bytes(len(nothing.PixelData))
    judge = judge_that_says(prediction(0.9))
    outcome = assess(_case(study, nothing, list(case.contrasts["cine"].frames), tmp_path), judge, tmp_path / "out")
    assert (outcome.verdict, outcome.predicted) == (Verdict.UNASSESSABLE, None)
    assert [r.code for r in outcome.reasons] == [ReasonCode.EMPTY_SEGMENTATION]
    assert not judge.predictor.shown
    assert (tmp_path / "out" / "report.dcm").exists()
    assert not (tmp_path / "out" / "error_map.dcm").exists()


def test_what_the_network_refuses_is_unassessable_with_its_reason(case: Case, tmp_path: Path) -> None:
    refusal = Rejected(ReasonCode.CONTRAST_MISSING, "the network needs a T1")
    outcome = assess(case, judge_that_says(refusal), tmp_path / "out")
    assert (outcome.verdict, outcome.reasons) == (Verdict.UNASSESSABLE, (refusal.reason,))


def test_numbers_with_their_intervals_are_in_the_document(case: Case, tmp_path: Path) -> None:
    said = replace(
        prediction(0.81), dsc_interval=(0.72, 0.88), nsd_interval=(0.7, 0.9), interval_level=0.9, image_p_value=0.5, query_p_value=0.25
    )
    judge = judge_that_says(said, Limits(Limit(0.75, level=0.9)))
    outcome = assess(case, judge, tmp_path / "out")
    assert (outcome.verdict, outcome.reasons[0].code) == (Verdict.REVIEW, ReasonCode.INTERVAL_STRADDLES)
    written = json.loads((tmp_path / "out" / "verdict.json").read_text())["predicted"]
    assert (written["dsc_interval"], written["nsd_interval"], written["interval_level"]) == ([0.72, 0.88], [0.7, 0.9], 0.9)
    assert (written["image_p_value"], written["query_p_value"]) == (0.5, 0.25)
    assert read_outcome(tmp_path / "out") == outcome
    report = pydicom.dcmread(tmp_path / "out" / "report.dcm")
    assert "90 % interval 0.7200 to 0.8800" in report.to_json()
    assert outcome.judging_digest != judge_that_says(said).judging.digest


def test_images_unlike_the_training_data_get_no_numbers(case: Case, tmp_path: Path) -> None:
    said = replace(prediction(0.97), image_is_novel=True, image_p_value=0.003)
    outcome = assess(case, judge_that_says(said), tmp_path / "out")
    assert (outcome.verdict, outcome.predicted) == (Verdict.UNASSESSABLE, None)
    assert [r.code for r in outcome.reasons] == [ReasonCode.IMAGE_NOVEL]
    assert "p = 0.003" in outcome.reasons[0].text
    assert {o.kind for o in outcome.objects} == {"report", "summary"}
    report = pydicom.dcmread(tmp_path / "out" / "report.dcm").to_json()
    assert "0.97" not in report
    assert "Measurement failure" in report


def test_what_was_settled_before_there_were_intervals_is_read(case: Case, tmp_path: Path) -> None:
    outcome = assess(case, judge_that_says(prediction(0.9)), tmp_path / "out")
    path = tmp_path / "out" / "verdict.json"
    content = json.loads(path.read_text())
    for key in ("dsc_interval", "nsd_interval", "interval_level", "image_p_value", "query_p_value"):
        del content["predicted"][key]
    path.write_text(json.dumps(content))
    assert read_outcome(tmp_path / "out") == outcome


def test_an_unreadable_image_is_unassessable(case: Case, tmp_path: Path) -> None:
    victim = case.contrasts["cine"].frames[3].path
    victim.write_bytes(victim.read_bytes()[:-5000])
    outcome = assess(case, judge_that_says(prediction(0.9)), tmp_path / "out")
    assert outcome.verdict is Verdict.UNASSESSABLE
    assert outcome.reasons[0].code is ReasonCode.SERIES_UNREADABLE
    assert (tmp_path / "out" / "report.dcm").exists()


def test_tissue_outside_of_the_images_is_told_and_does_not_pass(study: PhantomStudy, case: Case, tmp_path: Path) -> None:
    """The segmenter saw two slices more than the node has."""
    fewer = replace(case, contrasts={"cine": Stack("1", case.contrasts["cine"].frames[:-2])})
    segmentation = np.zeros_like(study.queries[0].segmentation)
    segmentation[:, :, 60:100, 60:100] = True
    query = seg_of(segmentation, study.images, study.study)
    whole = _case(study, query, list(case.contrasts["cine"].frames), tmp_path)
    outcome = assess(replace(whole, contrasts=fewer.contrasts), judge_that_says(prediction(0.9)), tmp_path / "out")
    assert outcome.verdict is Verdict.REVIEW
    assert ReasonCode.PARTIAL_COVERAGE in [r.code for r in outcome.reasons]


@pytest.mark.parametrize("with_images", [True, False])
def test_a_problem_found_by_matching_is_the_reason(case: Case, tmp_path: Path, with_images: bool) -> None:
    problem = Reason(ReasonCode.IMAGES_MISSING, "3 referenced images are not here")
    troubled = replace(case, problem=problem) if with_images else replace(case, problem=problem, contrasts={}, reference_contrast="")
    outcome = assess(troubled, judge_that_says(prediction(0.9)), tmp_path / "out")
    assert (outcome.verdict, outcome.reasons) == (Verdict.UNASSESSABLE, (problem,))
    assert {o.kind for o in outcome.objects} == {"report", "summary"}


def test_the_worklist_gets_patient_scanner_and_segmenter(case: Case, tmp_path: Path) -> None:
    outcome = assess(case, judge_that_says(prediction(0.2)), tmp_path / "out")
    result = settled_result(case, outcome, tmp_path / "out")
    assert (result.patient_name, result.birth_date) == ("PHANTOM^QCNODE", "19700101")
    assert result.scanner == "Phantom MR Phantom"
    assert result.segmenter
    assert not result.blind
    assert all(o.path.exists() for o in result.objects)


def test_some_passes_are_drawn_always_the_same(case: Case, tmp_path: Path) -> None:
    good = assess(case, judge_that_says(prediction(0.95)), tmp_path / "good")
    bad = assess(case, judge_that_says(prediction(0.2)), tmp_path / "bad")
    assert good.verdict is Verdict.PASS
    assert not settled_result(case, good, tmp_path / "good").blind
    every = Sampling(pass_share=1, blind_share=0, second_share=1)
    passed, failed = settled_result(case, good, tmp_path / "good", every), settled_result(case, bad, tmp_path / "bad", every)
    assert (passed.blind, passed.read_twice, passed.sampling_probability) == (True, True, 1)
    assert (failed.blind, failed.read_twice, failed.sampling_probability) == (False, True, 1)
    some = Sampling(pass_share=0.2)
    cases = [replace(case, case_id=f"{n:064x}") for n in range(200)]
    drawn = [settled_result(c, good, tmp_path / "good", some) for c in cases]
    assert 20 <= sum(result.blind for result in drawn) <= 60
    assert {result.sampling_probability for result in drawn} == {0.2}
    assert [settled_result(c, good, tmp_path / "good", some).blind for c in cases] == [result.blind for result in drawn]
