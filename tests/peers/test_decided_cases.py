"""A flagged case is announced in the archive, and what its reader decides comes back into the study, by both kinds of destination."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import validators
from archive import FORWARD_EVERYTHING
from pydicom import Dataset, dcmread
from road import Road, running
from served_node import ServedNode
from waiting import free_port, is_open, wait_for

from qcnode.config import CStoreDestination
from qcnode.deliver.c_store import CStore
from qcnode.demo.phantom_dicom import PhantomStudy

pytestmark = [pytest.mark.peers, pytest.mark.timeout(420)]

AT_ONCE = {"hold_minutes": 0, "random_pass_share": 0}
REASON = "slices left out"


def decided(node: ServedNode, item_id: int) -> None:
    """Reject an item on the command line, beside the running node."""
    words = (
        "worklist",
        "decide",
        str(item_id),
        "reject",
        "--reader",
        "jane",
        "--reason",
        REASON,
        "--rating",
        "2",
        "-m",
        "base: see slice 1",
    )
    said = node.run(*words)
    assert said.returncode == 0, said.stdout + said.stderr


def file_of(node: ServedNode, kind: str) -> Path:
    (found,) = node.storage.glob(f"results/*/*/{kind}.dcm")
    return found


def in_archive(road: Road, path: Path) -> Dataset:
    """The archive's copy of one of the node's objects, read with WADO-RS."""
    written = dcmread(path)
    series, instance = str(written.SeriesInstanceUID), str(written.SOPInstanceUID)
    return road.archive.dicomweb.retrieve_instance(road.study_instance_uid, series, instance)


@pytest.fixture(scope="module", params=["c-store", "stow-rs"])
def road(request: pytest.FixtureRequest, orthanc: None, phantom: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The bad query of a phantom study, announced, and decided by a reader; everything is forwarded back to the node."""
    folder = tmp_path_factory.mktemp(request.param)
    sections = {"review": AT_ONCE, "web": {"enabled": False}}
    with running(folder, FORWARD_EVERYTHING, request.param, key_object=True, **sections) as (archive, node):
        road = Road(archive, node, str(phantom.study.study_instance_uid), phantom.images)
        road.send(folder / "study", bad=phantom.queries[1].dataset)
        (item,) = node.worklist()
        decided(node, item.item_id)
        objects = len(road.outcome("bad").objects)
        wait_for(lambda: node.deliveries() == {"PROVEN": objects + 1}, 90, "the decision to be delivered", explain=node.log_tail)
        yield road


def test_the_flagged_case_is_announced_with_its_report_and_without_its_images(road: Road, phantom: PhantomStudy) -> None:
    key_object = road.answer("bad", "key_object")
    assert key_object == dcmread(file_of(road.node, "key_object"))
    named = {str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in key_object.ContentSequence if "ReferencedSOPSequence" in i}
    assert named == {road.queries["bad"], str(road.answer("bad", "report").SOPInstanceUID)}
    assert not named & {str(image.SOPInstanceUID) for image in phantom.images}


def test_the_decision_is_in_the_study_as_the_node_wrote_it(road: Road) -> None:
    document = in_archive(road, file_of(road.node, "decision-1"))
    assert document == dcmread(file_of(road.node, "decision-1"))
    assert (document.SeriesDescription, document.VerificationFlag) == ("QC REJECT by reader", "UNVERIFIED")
    text = document.to_json()
    assert REASON in text
    assert "base: see slice 1" in text
    assert road.queries["bad"] in text
    assert str(road.answer("bad", "report").SOPInstanceUID) in text


def test_no_validator_finds_an_error(road: Road, tmp_path: Path, require_peers: Callable[..., None]) -> None:
    require_peers(*validators.PROGRAMS)
    for kind in ("key_object", "decision-1"):
        in_archive(road, file_of(road.node, kind)).save_as(tmp_path / f"{kind}.dcm", enforce_file_format=True)
    assert validators.problems_of_all(tmp_path.glob("*.dcm")) == {}


def test_what_is_forwarded_back_is_known_as_the_nodes_own(road: Road) -> None:
    before = road.node.deliveries()
    road.wait_for_echo()
    assert set(road.node.outcomes()) == {road.queries["bad"]}
    assert road.node.deliveries() == before
    assert len(list(road.node.storage.glob("results/*/*/decision-*.dcm"))) == 1


def test_dcmtk_takes_both(road: Road, tmp_path: Path, require_peers: Callable[..., None]) -> None:
    require_peers("storescp")
    port = free_port()
    command = ["storescp", "--output-directory", str(tmp_path), "--prefer-uncompr", str(port)]
    receiver = subprocess.Popen(command, env=os.environ | {"TCP_NODELAY": "1"})
    try:
        wait_for(lambda: is_open(port), 20, "storescp to listen")
        sent = [file_of(road.node, kind) for kind in ("key_object", "decision-1")]
        for path in sent:
            CStore(CStoreDestination(name="dcmtk", kind="c-store", ae_title="STORESCP", host="127.0.0.1", port=port), "QCNODE").send(path)
    finally:
        receiver.terminate()
        receiver.wait(20)
    received = {str(d.SOPInstanceUID): d for d in map(dcmread, tmp_path.iterdir())}
    assert received == {str(d.SOPInstanceUID): d for d in map(dcmread, sent)}
