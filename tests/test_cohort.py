"""Decisions leave as a cohort: the right ones, of whom nobody can tell, and with images that read as before."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import decided_items
import numpy as np
import pydicom
import pytest
from store_samples import at, case, put_item, result
from typer.testing import CliRunner

from qcnode.case import Case, FrameRef, QueryRef, Stack, Verdict
from qcnode.cli import app
from qcnode.cohort.deidentify import deidentified
from qcnode.cohort.format import ReviewedQuery, read_cohort
from qcnode.cohort.pseudonyms import Pseudonyms, node_key
from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study
from qcnode.errors import ConfigurationError, Rejected
from qcnode.headers import read_header
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import read_series
from qcnode.outcome import Predicted, write_outcome
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.worklist import Decision, Judgement, Worklist

ACCEPT = Judgement(Decision.ACCEPT, ("other",), "Mrs TEST is well", 5)
NUMBERS = Predicted(0.4, 0.5, 2.0, {}, (0.3, 0.5), (0.4, 0.6), 0.9, 0.31, 0.42, {"doubt": 0.1})
PATIENT = ("TEST^ONLY", "T1", "A1", "20260504")


@pytest.fixture
def node(tmp_path: Path) -> Database:
    (tmp_path / "config.yaml").write_text("storage: {directory: node}\nreview: {random_pass_share: 0.2}\n")
    return open_database(tmp_path / "node")


def export(tmp_path: Path, *words: str, code: int = 0, out: str = "out") -> tuple[str, list[ReviewedQuery]]:
    arguments = ["worklist", "export", "--out", str(tmp_path / out), "--config", str(tmp_path / "config.yaml"), "--reader", "lund", *words]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == code, answer.output + str(answer.exception)
    reviews = read_cohort(tmp_path / out).reviews if code == 0 else ()
    return re.sub(r"\s+", " ", answer.output), list(reviews)


def decide(database: Database, seconds: float, judgement: Judgement) -> None:
    """Decide the item that waits; nothing else follows from it."""
    item = decided_items.decide(database, seconds, judgement)
    Worklist(database).passed_on(item.item_id, at(seconds))


def judged_case(database: Database, judged: Case, seconds: float = 0, **changes: object) -> None:
    """A settled FAIL with a verdict.json."""
    jobs = Jobs(database)
    jobs.put_case(judged, at(seconds))
    claimed = jobs.claim("w", at(seconds), timedelta(seconds=9))
    assert claimed is not None
    settled = result(claimed.case, directory=database.directory / "results")
    outcome = replace(settled.outcome, predicted=NUMBERS, judging_digest="limits", qcnode_version="9.9.9")
    settled.directory.mkdir(parents=True)
    write_outcome(outcome, settled.directory)
    jobs.settle(claimed, replace(settled, outcome=outcome, **changes), {}, at(seconds))  # type: ignore[arg-type]


def test_only_final_decisions_and_of_a_query_the_last(node: Database, tmp_path: Path) -> None:
    for seconds, name in ((0, "first"), (10, "second")):  # judged again: a slice came late
        judged_case(node, case(name, query="2.25.77"), seconds)
        decide(node, seconds + 1, ACCEPT if name == "second" else Judgement(Decision.REJECT))
    put_item(node, "91")
    held = put_item(node, "92").item_id
    worklist = Worklist(node)
    worklist.claim(held, "ann", at(20), at(99))
    worklist.hold(held, "ann", ACCEPT, at(20), at(400))
    _, reviews = export(tmp_path)
    assert [(r.decision, r.rating, r.decision_reasons) for r in reviews] == [("ACCEPT", 5, ("other",))]


def test_a_decision_says_everything_that_calibration_needs(node: Database, tmp_path: Path) -> None:
    judged_case(node, case("1"), scanner="SIEMENS Aera", segmenter="hasty")
    decide(node, 1, ACCEPT)
    blind = put_item(node, "2", Verdict.PASS, 0.9, blind=True, sampling_probability=0.05)
    decide(node, 2, Judgement(Decision.REJECT))
    _, (first, second) = export(tmp_path)
    assert first.predicted == NUMBERS
    assert first.weights is not None
    assert (first.weights.name, first.judging_digest, first.qcnode_version) == ("cardiac-sax", "limits", "9.9.9")
    assert (first.scanner, first.segmenter, first.blind, first.sampling_probability) == ("SIEMENS Aera", "hasty", False, 1.0)
    assert first.reasons == ("below-threshold",)
    assert [plane.frame_number for plane in first.contrasts["cine"].planes] == [1, 1]
    # without verdict.json the tables know the numbers; the share is the one of the draw, whatever is configured now
    assert second.predicted is not None
    assert (second.predicted.dsc, second.blind, second.sampling_probability) == (blind.predicted_dsc, True, 0.05)
    assert first.patient == second.patient


def test_a_pseudonymised_cohort_tells_nobody(node: Database, tmp_path: Path) -> None:
    judged_case(node, case("1" * 64))
    decide(node, 1, ACCEPT)
    _, (one,) = export(tmp_path)
    _, (two,) = export(tmp_path, out="again")
    assert one == two  # the same pseudonyms every time
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    for told in (*PATIENT, "jane", "2.25.9", "2.25.8", "2.25.2", "1" * 64):
        assert f'"{told}"' not in written
    assert "Mrs TEST" not in written
    assert "2026-05-04" not in written
    assert (one.comment, one.decided) == (None, "2026-05")
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    (node.directory / "pseudonym.key").unlink()
    _, (other,) = export(tmp_path, out="after")
    assert other.patient != one.patient
    assert (node.directory / "pseudonym.key").stat().st_mode & 0o077 == 0


def test_an_identifiable_cohort_names_the_case_and_still_no_patient(node: Database, tmp_path: Path) -> None:
    judged_case(node, case("1"))
    decide(node, 1, ACCEPT)
    _, (one,) = export(tmp_path, "--identifiable")
    assert (one.query_sop_instance_uid, one.case, one.reader, one.comment) == ("2.25.9", "1", "jane", "Mrs TEST is well")
    assert one.decided == at(1).isoformat()
    assert one.patient not in PATIENT


def test_filters_exit_codes_and_the_audit(node: Database, tmp_path: Path) -> None:
    judged_case(node, case("1"))
    decide(node, 1, ACCEPT)
    said, _ = export(tmp_path, "--since", "2026-05-05", code=4)
    assert "nothing was written" in said
    export(tmp_path, "--until", "2026-05-03", code=4)
    export(tmp_path, "--task", "brain", code=4)
    said, reviews = export(tmp_path, "--since", "2026-05-04", "--until", "2026-05-04", "--task", "cardiac-sax")
    assert "1 decisions about 1 patients" in said
    assert len(reviews) == 1
    manifest = json.loads((tmp_path / "out/cohort.json").read_text())
    assert (manifest["since"], manifest["until"], manifest["task"], manifest["pseudonymised"]) == ("2026-05-04",) * 2 + (
        "cardiac-sax",
        True,
    )
    answer = CliRunner().invoke(app, ["worklist", "export", "--out", str(tmp_path / "out"), "--config", str(tmp_path / "config.yaml")])
    assert isinstance(answer.exception, ConfigurationError)
    assert "not empty" in str(answer.exception)
    exports = [(e.actor, e.details["decisions"], e.details["images"]) for e in Audit(node).entries() if e.action == "export"]
    assert exports == [("lund", 0, False)] * 3 + [("lund", 1, False)]


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return phantom_study(4, phases=1, phase=0)


@pytest.fixture
def phantom_case(study: PhantomStudy, node: Database) -> Callable[[str, int], Case]:
    """Files of a phantom in the node, and cases about its queries."""
    frames = []
    for i, dataset in enumerate(study.images):
        dataset.PatientBirthDate, dataset.SeriesDescription = "19500102", "Mrs TEST SAX"
        dataset.add_new((0x0009, 0x0010), "LO", "A PRIVATE CREATOR")
        dataset.save_as(node.directory / f"{i}.dcm", enforce_file_format=True)
        frames.append(FrameRef(node.directory / f"{i}.dcm", str(dataset.SOPInstanceUID)))

    def made(name: str, number: int) -> Case:
        query = study.queries[number].dataset
        path = node.directory / f"query-{name}.dcm"
        query.save_as(path, enforce_file_format=True)
        drawn = QueryRef(path, str(query.SeriesInstanceUID), str(query.SOPInstanceUID))
        stack = Stack(str(study.images[0].SeriesInstanceUID), tuple(frames))
        return replace(case(name, study=str(query.StudyInstanceUID)), query=drawn, contrasts={"cine": stack})

    return made


def planes_of(review: ReviewedQuery, folder: Path) -> tuple[FrameRef, ...]:
    return tuple(FrameRef(folder / str(p.file), p.sop_instance_uid, p.frame_number) for p in review.contrasts["cine"].planes)


def test_images_leave_without_the_patient_and_read_as_before(
    study: PhantomStudy, phantom_case: Callable[[str, int], Case], node: Database, tmp_path: Path
) -> None:
    cases = [phantom_case("1", 0), phantom_case("2", 1)]
    for number, judged in enumerate(cases):
        judged_case(node, judged, 2 * number)
        decide(node, 2 * number + 1, ACCEPT)
    _, reviews = export(tmp_path, "--images")
    files = sorted(path for path in (tmp_path / "out/files").rglob("*") if path.is_file())
    assert len(files) == len(study.images) + 2  # the images once
    original = read_series(cases[0].contrasts["cine"].frames)
    for judged, review in zip(cases, reviews, strict=True):
        copied = read_series(planes_of(review, tmp_path / "out"))
        np.testing.assert_array_equal(copied.volume.array, original.volume.array)
        assert copied.volume.grid == original.volume.grid
        query = tmp_path / "out" / str(review.query_file)
        segments = read_segmentation(query, copied.volume.grid)
        np.testing.assert_array_equal(segments.masks, read_segmentation(judged.query.path, original.volume.grid).masks)
        before, after = read_header(judged.query.path), read_header(query)
        assert [(s.label, s.property_type) for s in after.segments] == [(s.label, s.property_type) for s in before.segments]
        assert set(after.referenced_instances) == {p.sop_instance_uid for p in review.contrasts["cine"].planes}
        assert (after.study_instance_uid, after.sop_instance_uid) == (review.study_instance_uid, review.query_sop_instance_uid)
    named = str(study.images[0].PatientName), str(study.images[0].PatientID), "19500102", "Mrs TEST", "PRIVATE"
    for path in files:
        written = path.read_bytes()
        assert not [word for word in (*named, str(study.images[0].StudyInstanceUID)) if word.encode() in written]
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"


def test_identifiable_images_are_the_stored_files(phantom_case: Callable[[str, int], Case], node: Database, tmp_path: Path) -> None:
    judged = phantom_case("1", 0)
    judged_case(node, judged)
    decide(node, 1, ACCEPT)
    _, (review,) = export(tmp_path, "--images", "--identifiable")
    assert (tmp_path / "out" / str(review.query_file)).samefile(judged.query.path)
    assert planes_of(review, tmp_path / "out")[0].sop_instance_uid == judged.contrasts["cine"].frames[0].sop_instance_uid


def test_what_has_no_images_any_more_goes_without(phantom_case: Callable[[str, int], Case], node: Database, tmp_path: Path) -> None:
    cases = [phantom_case("1", 0), phantom_case("2", 1)]
    for number, judged in enumerate(cases):
        judged_case(node, judged, 2 * number)
        decide(node, 2 * number + 1, ACCEPT)
    cases[1].query.path.unlink()
    said, (whole, without) = export(tmp_path, "--images")
    assert "1 of them without images" in said
    assert whole.query_file is not None
    assert without.query_file is None
    assert {p.file for p in without.contrasts["cine"].planes} == {None}
    assert read_series(planes_of(whole, tmp_path / "out")).volume.array.any()


def test_burned_in_text_does_not_leave(study: PhantomStudy) -> None:
    image = pydicom.Dataset(study.images[0])
    image.file_meta = study.images[0].file_meta
    image.BurnedInAnnotation = "YES"
    with pytest.raises(Rejected, match="burned"):
        deidentified(image, Pseudonyms(b"k"), "someone")


def test_pseudonyms(tmp_path: Path) -> None:
    key = node_key(tmp_path)
    assert node_key(tmp_path) == key
    assert len(key) == 32
    ours, theirs = Pseudonyms(key), Pseudonyms(b"other")
    assert ours.patient("T1", "2.25.1") == ours.patient("T1", "2.25.2") != theirs.patient("T1", "2.25.1")
    assert ours.patient("", "2.25.1") != ours.patient("", "2.25.2")
    assert pydicom.uid.UID(ours.uid("2.25.1")).is_valid
    assert ours.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert Pseudonyms(key, keep=True).uid("2.25.1") == "2.25.1"
    assert Pseudonyms(key, keep=True).patient("T1", "") == ours.patient("T1", "")


def test_another_version_of_the_format_is_refused(node: Database, tmp_path: Path) -> None:
    judged_case(node, case("1"))
    decide(node, 1, ACCEPT)
    export(tmp_path)
    path = tmp_path / "out/cohort.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"further": 1}))
    assert read_cohort(tmp_path / "out").manifest.decisions == 1
    path.write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(ConfigurationError, match="has version 2"):
        read_cohort(tmp_path / "out")
    path.write_text(json.dumps(content | {"decisions": "many"}))
    with pytest.raises(ConfigurationError, match="'decisions'"):
        read_cohort(tmp_path / "out")
