"""The small archive: keeps what it gets, answers queries, forwards, and writes down every C-STORE."""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage, SecondaryCaptureImageStorage, SegmentationStorage
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from qcnode.demo.holdings import read_store_log
from qcnode.demo.pacs import DemoPacs


def picture(number: int = 1, series: str = "2.25.2", study: str = "2.25.1", *, pixel: int = 0) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Doe^Jane", "P1", "20260105"
    dataset.Modality, dataset.InstanceNumber = "MR", number
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.SamplesPerPixel, dataset.PixelRepresentation = 8, 8, 16, 1, 0
    dataset.PixelData = bytes([pixel, 0]) * 64
    return dataset


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[DemoPacs]:
    with DemoPacs(tmp_path / "archive") as archive:
        yield archive


def store(pacs: DemoPacs, *datasets: Dataset) -> list[int]:
    contexts = [build_context(*pair) for pair in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}]
    association = AE(ae_title="SENDER").associate("127.0.0.1", pacs.port, contexts, ae_title="DEMOPACS")
    assert association.is_established
    statuses = [association.send_c_store(d).Status for d in datasets]
    association.release()
    return statuses


def find(pacs: DemoPacs, level: str, **keys: Any) -> list[Dataset]:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(identifier, keyword, value)
    association = AE().associate("127.0.0.1", pacs.port, [build_context(StudyRootQueryRetrieveInformationModelFind)])
    answers = list(association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind))
    association.release()
    assert answers[-1][0].Status == 0x0000
    return [found for status, found in answers if found is not None]


@contextmanager
def receiver(statuses: list[int] | None = None) -> Iterator[tuple[int, list[str], list[object]]]:
    """A Storage SCP; yields its port, the SOP Instance UIDs in the order of arrival, and the associations that brought them."""
    arrived: list[str] = []
    associations: list[object] = []

    def on_store(event: Any) -> int:
        arrived.append(str(event.request.AffectedSOPInstanceUID))
        if event.assoc not in associations:
            associations.append(event.assoc)
        if statuses and len(arrived) > len(statuses):
            event.assoc.abort()
        return statuses[len(arrived) - 1] if statuses and len(arrived) <= len(statuses) else 0x0000

    entity = AE(ae_title="RECEIVER")
    entity.add_supported_context(MRImageStorage)
    listener = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    try:
        yield listener.server_address[1], arrived, associations
    finally:
        listener.shutdown()


def test_object_is_kept_and_its_c_store_written_down(pacs: DemoPacs, tmp_path: Path) -> None:
    sent = picture()
    assert store(pacs, sent) == [0x0000]
    (record,) = pacs.stores()
    (path,) = pacs.instances("2.25.1")
    assert pacs.path_of("2.25.2.1") == path
    assert pacs.path_of("2.25.2.2") is None
    assert record.sop_instance_uid == "2.25.2.1"
    assert record.calling_ae_title == "SENDER"
    content = path.read_bytes()
    assert record.sha256 == sha256(content[split_dataset(path)[1] :]).hexdigest()
    assert "2.25" not in path.name


def test_first_object_of_a_uid_stays_and_every_c_store_is_in_the_log(pacs: DemoPacs) -> None:
    assert store(pacs, picture(pixel=1), picture(pixel=2), picture(pixel=1)) == [0x0000] * 3
    (path,) = pacs.instances()
    assert dcmread(path).PixelData[0] == 1
    first, second, third = pacs.stores()
    assert first.sha256 == third.sha256 != second.sha256


@pytest.mark.parametrize("transfer_syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
@pytest.mark.parametrize("sop_class", [SegmentationStorage, SecondaryCaptureImageStorage, "1.2.840.10008.5.1.4.1.1.88.34"])
def test_any_storage_class_in_any_transfer_syntax_is_accepted(pacs: DemoPacs, sop_class: str, transfer_syntax: str) -> None:
    association = AE().associate("127.0.0.1", pacs.port, [build_context(sop_class, transfer_syntax), build_context(Verification)])
    assert len(association.accepted_contexts) == 2
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_restart_finds_everything_again(pacs: DemoPacs) -> None:
    store(pacs, picture(1), picture(2))
    pacs.stop()
    with DemoPacs(pacs.folder) as again:
        assert store(again, picture(1, pixel=9)) == [0x0000]
        assert len(again.instances("2.25.1")) == 2
        assert len(again.stores()) == 3


def test_line_cut_off_by_a_crash_is_left_out(pacs: DemoPacs) -> None:
    store(pacs, picture())
    with (pacs.folder / "c-store.jsonl").open("a") as log:
        log.write('{"time": "2026')
    assert len(read_store_log(pacs.folder)) == 1


def test_find_at_every_level(pacs: DemoPacs) -> None:
    for dataset in (picture(1), picture(2), picture(1, "2.25.3"), picture(1, "2.25.5", "2.25.4")):
        pacs.keep(dataset)
    (study,) = find(pacs, "STUDY", StudyInstanceUID="2.25.1", PatientName="", NumberOfStudyRelatedInstances=None, ModalitiesInStudy="")
    assert (study.PatientName, study.NumberOfStudyRelatedInstances, study.ModalitiesInStudy) == ("Doe^Jane", 3, "MR")
    series = find(pacs, "SERIES", StudyInstanceUID="2.25.1", SeriesInstanceUID="", NumberOfSeriesRelatedInstances=None)
    assert {s.SeriesInstanceUID: s.NumberOfSeriesRelatedInstances for s in series} == {"2.25.2": 2, "2.25.3": 1}
    images = find(pacs, "IMAGE", StudyInstanceUID="2.25.1", SeriesInstanceUID="2.25.2", SOPInstanceUID="")
    assert sorted(i.SOPInstanceUID for i in images) == ["2.25.2.1", "2.25.2.2"]


@pytest.mark.parametrize(
    ("keys", "studies"),
    [
        ({"PatientName": "doe*"}, 1),
        ({"PatientName": "D?e^Jane"}, 1),
        ({"PatientName": "Roe*"}, 0),
        ({"StudyDate": "20260101-20260131"}, 1),
        ({"StudyDate": "20260106-"}, 0),
        ({"StudyInstanceUID": ["2.25.1", "2.25.9"]}, 1),
        ({"StudyInstanceUID": "2.25.9"}, 0),
        ({}, 1),
    ],
)
def test_matching(pacs: DemoPacs, keys: dict[str, Any], studies: int) -> None:
    pacs.keep(picture())
    assert len(find(pacs, "STUDY", **keys)) == studies


def test_move_brings_a_series_to_a_known_destination_only(pacs: DemoPacs) -> None:
    for number in range(3):
        pacs.keep(picture(number))
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID, identifier.SeriesInstanceUID = "SERIES", "2.25.1", "2.25.2"
    model = StudyRootQueryRetrieveInformationModelMove
    with receiver() as (port, arrived, _):
        pacs.move_destinations["RECEIVER"] = ("127.0.0.1", port)
        association = AE().associate("127.0.0.1", pacs.port, [build_context(model)])
        statuses = [status.Status for status, _ in association.send_c_move(identifier, "RECEIVER", model)]
        unknown = [status.Status for status, _ in association.send_c_move(identifier, "NOBODY", model)]
        association.release()
    assert sorted(arrived) == ["2.25.2.0", "2.25.2.1", "2.25.2.2"]
    assert statuses[-1] == 0x0000
    assert unknown == [0xA801]


def test_get_brings_a_series_over_the_same_association(pacs: DemoPacs) -> None:
    for number in range(3):
        pacs.keep(picture(number))
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID, identifier.SeriesInstanceUID = "SERIES", "2.25.1", "2.25.2"
    arrived = []

    def on_store(event: Any) -> int:
        arrived.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    model = StudyRootQueryRetrieveInformationModelGet
    association = AE().associate(
        "127.0.0.1",
        pacs.port,
        [build_context(model), build_context(MRImageStorage)],
        ext_neg=[build_role(MRImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, on_store)],
    )
    statuses = [status.Status for status, _ in association.send_c_get(identifier, model)]
    association.release()
    assert sorted(arrived) == ["2.25.2.0", "2.25.2.1", "2.25.2.2"]
    assert statuses[-1] == 0x0000


def test_forward_sends_one_study_over_one_association(pacs: DemoPacs) -> None:
    for dataset in (picture(1), picture(2), picture(3), picture(1, "2.25.5", "2.25.4")):
        pacs.keep(dataset)
    with receiver() as (port, arrived, associations):
        acknowledged = pacs.forward("2.25.1", "RECEIVER", "127.0.0.1", port)
    assert arrived == acknowledged == ["2.25.2.1", "2.25.2.2", "2.25.2.3"]
    assert len(associations) == 1


def test_forward_one_by_one_in_random_or_given_order(pacs: DemoPacs) -> None:
    for number in range(6):
        pacs.keep(picture(number))
    with receiver() as (port, arrived, associations):
        pacs.forward("2.25.1", "RECEIVER", "127.0.0.1", port, shuffle=random.Random(1), one_by_one=True)
        assert len(associations) == 6
        assert sorted(arrived) == [f"2.25.2.{i}" for i in range(6)]
        assert arrived != sorted(arrived)
        arrived.clear()
        pacs.forward("2.25.1", "RECEIVER", "127.0.0.1", port, order=["2.25.2.5", "2.25.2.0"])
        assert arrived == ["2.25.2.5", "2.25.2.0"]


def test_forward_tells_what_was_acknowledged_before_the_peer_went_away(pacs: DemoPacs) -> None:
    for number in range(4):
        pacs.keep(picture(number))
    with receiver([0x0000, 0xA700, 0x0000]) as (port, _, _):
        assert pacs.forward("2.25.1", "RECEIVER", "127.0.0.1", port) == ["2.25.2.0", "2.25.2.2"]
    assert pacs.forward("2.25.1", "RECEIVER", "127.0.0.1", 1) == []


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-m", "qcnode.demo.pacs", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        association = AE().associate("127.0.0.1", port, [build_context(MRImageStorage)])
        assert association.send_c_store(picture()).Status == 0x0000
        association.release()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert [r.sop_instance_uid for r in read_store_log(tmp_path)] == ["2.25.2.1"]
