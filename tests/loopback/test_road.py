"""From C-STORE to C-STORE: whatever the order of arrival, one case and one answer."""

import random
from pathlib import Path

import pytest
from loopback_node import SECONDARY_CAPTURE, SEG, SR, answers, node_config, running_node, wait_until

from qcnode.case import Verdict
from qcnode.demo.pacs import DemoPacs
from qcnode.demo.phantom_dicom import PhantomStudy, seg_of
from qcnode.store.database import open_database
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Worklist

BAD = 1  # index of the displaced query


def test_every_order_of_arrival_gives_one_case_and_one_answer(tmp_path: Path, pacs: DemoPacs, phantom: PhantomStudy) -> None:
    """SEG first, images first, and everything twice in random order, one object at a time: each to a fresh node."""
    study = str(phantom.study.study_instance_uid)
    query = phantom.queries[BAD].dataset
    for dataset in (*phantom.images, query):
        pacs.keep(dataset)
    images = [str(d.SOPInstanceUID) for d in phantom.images]
    everything = [*images, str(query.SOPInstanceUID)]
    orders = {
        "segmentation first": [str(query.SOPInstanceUID), *images],
        "images first": everything,
        "twice at random": [uid for uid in random.Random(7).sample(everything, len(everything)) for _ in range(2)],
    }
    seen = set()
    for name, order in orders.items():
        with running_node(node_config(tmp_path / name.replace(" ", "-"), pacs)) as node:
            sent = pacs.forward(study, "QCNODE", "127.0.0.1", node.port, order=order, one_by_one=name == "twice at random")
            assert len(sent) == len(order), name
            database = open_database(tmp_path / name.replace(" ", "-"))
            jobs = Jobs(database)
            wait_until(lambda jobs=jobs: jobs.counts().cases.get("DONE", 0) > 0, 90, f"result ({name})")
            cases = jobs.cases_of_study(study)
            assert len(cases) == 1, name
            assert jobs.counts().cases == {"DONE": 1}, name
            assert len(cases[0].contrasts["cine"].frames) == len(images) // 3, "one of three phases"
            seen.add(cases[0].case_id)
            wait_until(lambda: len(answers(pacs, study, SR)) == 1, 30, "report in the archive")
            database.close()
    assert len(seen) == 1, "the case does not depend on the order of arrival"
    assert [len(answers(pacs, study, kind)) for kind in (SR, SEG, SECONDARY_CAPTURE)] == [1, 1, 1]


@pytest.mark.timeout(180)
def test_good_passes_bad_fails_and_own_results_are_proven_and_not_judged(tmp_path: Path, pacs: DemoPacs, phantom: PhantomStudy) -> None:
    study = str(phantom.study.study_instance_uid)
    for dataset in (*phantom.images, *(q.dataset for q in phantom.queries)):
        pacs.keep(dataset)
    directory = tmp_path / "node"
    with running_node(node_config(directory, pacs, commitment=True)) as node:
        pacs.commitments.peers["QCNODE"] = ("127.0.0.1", node.port)
        pacs.forward(study, "QCNODE", "127.0.0.1", node.port)
        wait_until(lambda: len(answers(pacs, study, SR)) == 3, 120, "three reports")
        jobs = Jobs(open_database(directory))
        verdicts = [jobs.latest_result(str(q.dataset.SOPInstanceUID)).verdict for q in phantom.queries]
        assert verdicts == [Verdict.PASS, Verdict.FAIL, Verdict.FAIL]
        outbox = Outbox(open_database(directory))
        wait_until(lambda: set(outbox.counts()["pacs"]) == {"PROVEN"}, 30, "proven deliveries")
        assert {delivery.proof for delivery in outbox.list()} == {"commitment, read-back"}
        assert set(pacs.commitments.statuses) == {0x0000}
        # an archive that forwards everything sends our own results back
        before = jobs.counts().cases
        pacs.forward(study, "QCNODE", "127.0.0.1", node.port)
        wait_until(lambda: jobs.counts().queries.get("RESULT", 0) >= 6, 30, "results recorded as such")
        assert jobs.counts().cases == before
    items = Worklist(open_database(directory)).list()
    assert {i.query_sop_instance_uid for i in items} == {str(q.dataset.SOPInstanceUID) for q in phantom.queries[1:]}
    assert items[0].predicted_dsc <= items[1].predicted_dsc, "worst first"


def test_a_late_slice_supersedes_the_earlier_result(tmp_path: Path, pacs: DemoPacs, phantom: PhantomStudy) -> None:
    study = str(phantom.study.study_instance_uid)
    slices = len(phantom.images) // 3
    phase = phantom.images[phantom.phase * slices : (phantom.phase + 1) * slices]
    drawn = phantom.queries[BAD].segmentation
    query = seg_of(drawn, phantom.images, phantom.study, phase=phantom.phase, slices=range(slices - 1), series_number=150)
    late = phase[-1]
    for dataset in (*phase, query):
        pacs.keep(dataset)
    first = [str(d.SOPInstanceUID) for d in (*phase[:-1], query)]
    directory = tmp_path / "node"
    with running_node(node_config(directory, pacs)) as node:
        pacs.forward(study, "QCNODE", "127.0.0.1", node.port, order=first)
        wait_until(lambda: len(answers(pacs, study, SR)) == 1, 120, "first report")
        pacs.forward(study, "QCNODE", "127.0.0.1", node.port, order=[str(late.SOPInstanceUID)])
        wait_until(lambda: len(answers(pacs, study, SR)) == 2, 90, "second report")
    first_report, second_report = answers(pacs, study, SR)
    named = second_report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == first_report.SOPInstanceUID
    items = Worklist(open_database(directory)).list(None)
    assert sorted(i.state for i in items) == ["OPEN", "SUPERSEDED"]


def test_images_that_never_come_are_a_visible_state(tmp_path: Path, pacs: DemoPacs, phantom: PhantomStudy) -> None:
    study = str(phantom.study.study_instance_uid)
    query = phantom.queries[BAD].dataset
    pacs.keep(query)
    directory = tmp_path / "node"
    with running_node(node_config(directory, pacs, quiet_seconds=0.2)) as node:
        pacs.forward(study, "QCNODE", "127.0.0.1", node.port)
        jobs = Jobs(open_database(directory))
        wait_until(lambda: bool(jobs.queries("WAITING")), 30, "waiting query")
        waiting = jobs.queries("WAITING")[0]
        assert waiting.reason is not None
        assert waiting.reason.code == "images-missing"
        assert not answers(pacs, study, SR)
