"""A small archive in this process, or in its own with `python -m qcnode.demo.pacs FOLDER`: for the demonstration and the tests.

Storage of every class in every transfer syntax, C-ECHO, Study Root C-FIND, C-MOVE and C-GET, Storage Commitment (PS3.4 annexes A,
B, C and J), and forwarding of whole studies. It keeps what it gets as it got it, and writes down every C-STORE that it answers.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import Dataset, dcmread, dcmwrite
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from qcnode.demo.holdings import Held, Holdings, StoreRecord, read_store_log
from qcnode.demo.pacs_commitment import Commitments

_PENDING = 0xFF00
_CANCELLED = 0xFE00
_CLASS_NOT_SUPPORTED = 0x0122
_CANNOT_UNDERSTAND = 0xC000
_IDENTIFIER_MISMATCH = 0xA900


class DemoPacs:
    """The archive. `with DemoPacs(folder) as pacs:` listens on `pacs.port`; what lies in `folder` is there again after a restart."""

    def __init__(
        self,
        folder: Path,
        *,
        ae_title: str = "DEMOPACS",
        host: str = "127.0.0.1",
        port: int = 0,
        move_destinations: Mapping[str, tuple[str, int]] | None = None,
        commits_to: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        """Port 0 lets the system choose. `move_destinations`: (host, port) of each AE title that a C-MOVE may name.

        commits_to: of each AE title whose requests for Storage Commitment are reported on an association to it; others get their report
        on the association of the request. Left out, Storage Commitment is not offered.
        """
        self.folder = folder
        self.ae_title = ae_title
        self.host = host
        self.port = port
        self.move_destinations = dict(move_destinations or {})
        self._holdings = Holdings(folder)
        self._listener: Any = None
        self.commitments = None if commits_to is None else Commitments(ae_title, self._holdings, commits_to)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        entity = AE(ae_title=self.ae_title)
        entity.maximum_associations = 50
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelGet)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_MOVE, self._on_move),
            (evt.EVT_C_GET, self._on_get),
        ]
        if self.commitments is not None:
            entity.add_supported_context(StorageCommitmentPushModel)
            handlers.append((evt.EVT_N_ACTION, self.commitments.on_action))
        self._listener = entity.start_server((self.host, self.port), block=False, evt_handlers=handlers)
        self.port = self._listener.server_address[1]

    def stop(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener = None

    def keep(self, dataset: Dataset) -> Path:
        """Put an object into the archive without a network, as if it had always been there."""
        stream = BytesIO()
        dcmwrite(stream, dataset, enforce_file_format=True)
        return self._holdings.write(str(dataset.SOPInstanceUID), stream.getvalue())

    def instances(self, study_instance_uid: str | None = None) -> list[Path]:
        """Files of a study, or of all, in the order of arrival."""
        return [h.path for h in self._holdings.of_study(study_instance_uid)]

    def path_of(self, sop_instance_uid: str) -> Path | None:
        """The file of an object, None where the archive does not hold it."""
        return self._holdings.path_of(sop_instance_uid)

    def stores(self) -> list[StoreRecord]:
        """Every C-STORE received so far, resends included."""
        return read_store_log(self.folder)

    def forward(
        self,
        study_instance_uid: str,
        ae_title: str,
        host: str,
        port: int,
        *,
        order: Iterable[str] | None = None,
        shuffle: random.Random | None = None,
        one_by_one: bool = False,
    ) -> list[str]:
        """Send a whole study, as an auto-forwarding rule does; returns the SOP Instance UIDs that the peer acknowledged.

        `order` gives SOP Instance UIDs to send, `shuffle` a random order, otherwise it is the order of arrival. `one_by_one` takes an
        association for each object. A peer that refuses or goes away ends the sending; what it had acknowledged is still returned.
        """
        held = self._holdings.of_study(study_instance_uid)
        if order is not None:
            by_uid = {h.sop_instance_uid: h for h in held}
            held = [by_uid[sop_instance_uid] for sop_instance_uid in order]
        if shuffle is not None:
            shuffle.shuffle(held)
        acknowledged: list[str] = []
        for batch in [[h] for h in held] if one_by_one else [held]:
            if not self._send(batch, ae_title, host, port, acknowledged):
                break
        return acknowledged

    def _send(self, batch: list[Held], ae_title: str, host: str, port: int, acknowledged: list[str]) -> bool:
        association = AE(ae_title=self.ae_title).associate(host, port, _contexts(batch), ae_title=ae_title)
        if not association.is_established:
            return False
        for held in batch:
            status = _send_c_store(association, held.path)
            if status is None:
                return False
            if status == 0x0000:
                acknowledged.append(held.sop_instance_uid)
        association.release()
        return True

    def _on_store(self, event: Event) -> int:
        request = event.request
        record = StoreRecord(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            calling_ae_title=event.assoc.requestor.ae_title,
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            sha256=sha256(event.encoded_dataset(include_meta=False)).hexdigest(),
        )
        try:
            self._holdings.write(record.sop_instance_uid, event.encoded_dataset())
        except Exception:  # noqa: BLE001 - a peer may send anything, and the archive must go on
            return _CANNOT_UNDERSTAND
        self._holdings.record(record)
        return 0x0000

    def _on_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        answers = self._holdings.answers(event.identifier)
        if answers is None:
            yield _IDENTIFIER_MISMATCH, None
            return
        for answer in answers:
            if event.is_cancelled:
                yield _CANCELLED, None
                return
            answer.RetrieveAETitle = self.ae_title
            yield _PENDING, answer

    def _on_move(self, event: Event) -> Iterator[Any]:
        address = self.move_destinations.get(event.move_destination)
        if address is None:
            yield None, None
            return
        held = self._holdings.matching(event.identifier)
        yield (*address, {"contexts": _contexts(held)})
        yield from _sub_operations(event, held)

    def _on_get(self, event: Event) -> Iterator[Any]:
        yield from _sub_operations(event, self._holdings.matching(event.identifier))


def _sub_operations(event: Event, held: list[Held]) -> Iterator[Any]:
    yield len(held)
    for one in held:
        if event.is_cancelled:
            yield _CANCELLED, None
            return
        yield _PENDING, dcmread(one.path)


def _send_c_store(association: Association, path: Path) -> int | None:
    """The status of a C-STORE; None where the peer has gone."""
    try:
        status = association.send_c_store(dcmread(path))
    except RuntimeError:
        return None
    except ValueError:  # the peer accepts no presentation context for this object; others may follow
        return _CLASS_NOT_SUPPORTED
    return int(status.Status) if "Status" in status else None


def _contexts(held: list[Held]) -> list[PresentationContext]:
    return [build_context(*pair) for pair in dict.fromkeys(h.context for h in held)]


def main() -> None:
    """Run the archive in a process of its own until SIGTERM; the first line on standard output is its port."""
    parser = argparse.ArgumentParser(prog="python -m qcnode.demo.pacs", description="A small archive for demonstrations and tests.")
    parser.add_argument("folder", type=Path, help="where objects and the log of C-STOREs are kept")
    parser.add_argument("--ae-title", default="DEMOPACS")
    parser.add_argument("--port", type=int, default=0, help="0: the system chooses")
    arguments = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with DemoPacs(arguments.folder, ae_title=arguments.ae_title, port=arguments.port) as pacs:
        sys.stdout.write(f"{pacs.port}\n")
        sys.stdout.flush()
        ended.wait()


if __name__ == "__main__":
    main()
