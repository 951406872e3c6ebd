"""Orthanc as the PACS: it forwards what it gets, and what it is answered is what the node wrote, on the right slices, without doubles."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import validators
from hearts import BASAL, Heart
from looking import agreement
from pydicom import Dataset, dcmread
from road import Road, running, voxels

from qcnode.case import Verdict
from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study
from qcnode.outcome import Outcome

pytestmark = [pytest.mark.peers, pytest.mark.timeout(420)]

FORWARDING_RULE = Path(__file__).parents[2] / "docker/forward.lua"
KINDS = ("report", "error_map", "summary")


def kinds(outcome: Outcome) -> set[str]:
    return {o.kind for o in outcome.objects}


def check_read_back(road: Road, query: str, images: list[Dataset]) -> dict[str, np.ndarray]:
    """Every object of a query's answer in the archive is the node's own file; returns the error map's voxels by label."""
    outcome = road.outcome(query)
    for written in outcome.objects:
        assert road.answer(query, written.kind) == dcmread(road.node.results_of(outcome) / written.file)
    if "error_map" not in kinds(outcome):
        return {}
    read = voxels(road.answer(query, "error_map"), images)
    file = voxels(dcmread(road.node.results_of(outcome) / "error_map.dcm"), images)
    assert read.keys() == file.keys()
    assert all(np.array_equal(read[label], file[label]) for label in read)
    counted = {label.removeprefix("ERROR "): int(array.sum()) for label, array in read.items()}
    assert outcome.predicted
    assert counted == {tissue: n.error_voxels for tissue, n in outcome.predicted.per_tissue.items() if n.error_voxels}
    return read


def check_validators(road: Road, query: str, folder: Path) -> None:
    """No validator finds an error in what the archive has."""
    for kind in sorted(kinds(road.outcome(query))):
        path = folder / f"{query}-{kind}.dcm"
        road.answer(query, kind).save_as(path, enforce_file_format=True)
        assert validators.problems(path) == [], kind


def test_the_good_query_passes_and_the_bad_one_fails(phantom_road: Road) -> None:
    assert phantom_road.outcome("good").verdict is Verdict.PASS
    assert phantom_road.outcome("bad").verdict is Verdict.FAIL
    assert kinds(phantom_road.outcome("bad")) == set(KINDS)
    assert phantom_road.outcome("bad").completeness_evidence == "quiet-time"


def test_the_worklist_holds_the_bad_one_only(phantom_road: Road) -> None:
    assert [item.query_sop_instance_uid for item in phantom_road.node.worklist()] == [phantom_road.queries["bad"]]
    said = phantom_road.node.run("worklist", "list")
    assert said.returncode == 0, said.stderr
    assert "FAIL" in said.stdout
    doctor = phantom_road.node.run("doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr


@pytest.mark.parametrize("query", ["good", "bad"])
def test_the_archive_has_what_the_node_wrote(phantom_road: Road, phantom: PhantomStudy, query: str) -> None:
    check_read_back(phantom_road, query, list(phantom.images))


def test_the_error_map_marks_where_the_query_is_wrong(phantom_road: Road, phantom: PhantomStudy) -> None:
    """Weak on purpose (how well is for `training evaluate`): most of what it marks lies within the heart's box and not elsewhere."""
    marked = np.any(list(voxels(phantom_road.answer("bad", "error_map"), phantom.images).values()), axis=0)
    wrong = (phantom.phantom.reference ^ phantom.queries[1].segmentation).any(axis=0)
    assert marked[wrong].sum() > 0.5 * marked.sum()


def test_no_validator_finds_an_error(phantom_road: Road, tmp_path: Path, require_peers: Callable[..., None]) -> None:
    require_peers(*validators.PROGRAMS)
    check_validators(phantom_road, "bad", tmp_path)


def test_series_descriptions_carry_the_verdict(phantom_road: Road) -> None:
    predicted = phantom_road.outcome("bad").predicted
    assert predicted
    descriptions = [s.get("SeriesDescription", "") for s in phantom_road.archive.series(phantom_road.study_instance_uid)]
    assert sum("QC FAIL" in d and "pred" in d and f"{predicted.dsc:.2f}" in d for d in descriptions) == len(KINDS)


def test_answers_that_are_forwarded_back_are_not_judged(phantom_road: Road) -> None:
    before, listed = phantom_road.node.outcomes(), phantom_road.node.worklist()
    series = len(phantom_road.archive.series(phantom_road.study_instance_uid))
    phantom_road.wait_for_echo()
    assert phantom_road.node.outcomes() == before
    assert phantom_road.node.has_answered()
    assert len(phantom_road.archive.series(phantom_road.study_instance_uid)) == series
    assert phantom_road.node.worklist() == listed


def test_stow_rs_with_the_rule_that_is_shipped_and_the_archive_that_counts(orthanc: None, tmp_path: Path) -> None:
    """docker/forward.lua forwards MR and SEG; the archive confirms the stack's extent; the answers come by STOW-RS."""
    study = phantom_study(8, phases=2, phase=1)
    bad = study.queries[1].dataset
    rule = FORWARDING_RULE.read_text()
    quiet = {"archive": "pacs", "quiet_seconds": 300}
    with running(tmp_path, rule, "stow-rs", matching=quiet) as (archive, node):
        road = Road(archive, node, str(study.study.study_instance_uid), study.images)
        road.send(tmp_path / "study", bad=bad)
        outcome = road.outcome("bad")
        assert outcome.completeness_evidence == "archive-count"
        assert kinds(outcome) == set(KINDS)
        slices = len(study.images) // study.phases
        check_read_back(road, "bad", list(study.images[study.phase * slices :]))
        assert node.stop() == 0


@pytest.mark.realdata
def test_a_real_heart_good_and_bad(heart_road: Road) -> None:
    assert heart_road.outcome("good").verdict is Verdict.PASS
    assert heart_road.outcome("bad").verdict is Verdict.FAIL
    listed = {item.query_sop_instance_uid for item in heart_road.node.worklist()}
    assert listed & {heart_road.queries["good"], heart_road.queries["bad"]} == {heart_road.queries["bad"]}


@pytest.mark.realdata
@pytest.mark.parametrize("query", ["good", "bad"])
def test_a_real_heart_reads_back(heart_road: Road, heart: Heart, query: str, tmp_path: Path, require_peers: Callable[..., None]) -> None:
    require_peers(*validators.PROGRAMS)
    check_read_back(heart_road, query, heart.judged_images)
    check_validators(heart_road, query, tmp_path)


@pytest.mark.realdata
def test_a_query_without_the_base_is_judged_on_the_whole_stack(heart_road: Road, heart: Heart, tmp_path: Path) -> None:
    """The predicted DSC is that of the whole heart, so lower than the good query's, though what the query drew is the expert's own."""
    heart_road.send(tmp_path, hasty=heart.hasty)
    hasty, good = heart_road.outcome("hasty").predicted, heart_road.outcome("good").predicted
    assert hasty
    assert good
    drawn = np.array(list(voxels(heart.hasty, heart.judged_images).values()))
    true_dsc = np.mean([agreement(ours, experts) for ours, experts in zip(drawn, heart.expert, strict=True)])
    assert abs(hasty.dsc - true_dsc) < 0.08
    assert hasty.dsc < good.dsc - 0.05
    evidence = set(instances(heart_road.answer("hasty", "report")))
    assert {str(image.SOPInstanceUID) for image in heart.judged_images} <= evidence
    marked = np.any(list(check_read_back(heart_road, "hasty", heart.judged_images).values()), axis=0)
    base = int(np.flatnonzero(heart.expert.any((0, 2, 3)))[0])
    left_out = heart.expert.any(0)[base : base + BASAL]
    assert marked[base : base + BASAL][left_out].mean() > 0.5, "the slices that were left out are not marked as wrong"


def instances(report: Dataset) -> list[str]:
    """SOP Instance UIDs of an SR's evidence."""
    evidence = [*report.get("CurrentRequestedProcedureEvidenceSequence", ()), *report.get("PertinentOtherEvidenceSequence", ())]
    series = [s for study in evidence for s in study.ReferencedSeriesSequence]
    return [str(i.ReferencedSOPInstanceUID) for s in series for i in s.ReferencedSOPSequence]
