"""Is every accepted object there, byte for byte? And is there nothing that nobody accepted?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from qcnode.audit.files import FileProofs
from qcnode.audit.findings import Code, Finding
from qcnode.store.ledger import Ledger

_CODES = {"missing": Code.OBJECT_MISSING, "changed": Code.OBJECT_CHANGED}


def check_objects(ledger: Ledger, directory: Path, proofs: FileProofs) -> Iterator[Finding]:
    """Hold the received objects against the files below `directory`, the node's storage directory.

    A purged object has served: its row says when. What came back as a result of a qcnode is an object like any other until it is purged.
    """
    for batch in ledger.objects():
        for entry in batch:
            difference = proofs.difference(entry.path, entry.sha256)
            if difference is not None:
                yield Finding(_CODES[difference], entry.sop_instance_uid, str(entry.path.relative_to(directory)))
    for uid in ledger.lost_objects():
        yield Finding(Code.OBJECT_LOST, uid, "its file was missing when the node was started")
    for uid in ledger.unread_and_purged():
        yield Finding(Code.OBJECT_UNREAD, uid, "it was purged before its header was read")
    placed = {str(path.relative_to(directory)) for path in (directory / "objects").glob("*/*")}
    for stored in sorted(ledger.paths_without_row(placed)):
        yield Finding(Code.FILE_UNKNOWN, stored, "no accepted object is kept in it")
