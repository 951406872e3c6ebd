"""DIMSE messages that can not fill the memory."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage

_LARGEST_COMMAND_SET_BYTES = 2**16
_INVALID_PDU = "Evt19"  # PS3.8 9.2.2: the association is aborted


class CollectedDataSet(BytesIO):
    """A data set in the making. One that grows over its limit is dropped, and the rest of it is not kept."""

    def __init__(self, limit: int) -> None:
        """`limit`: in bytes."""
        super().__init__()
        self._limit = limit
        self.is_too_large = False

    def write(self, piece: Any) -> int:
        """Append a fragment."""
        if not self.is_too_large and self.tell() + len(piece) > self._limit:
            self.is_too_large = True
            self.seek(0)
            self.truncate()
        return len(piece) if self.is_too_large else super().write(piece)


class _CommandSet(BytesIO):
    def write(self, piece: Any) -> int:
        if self.tell() + len(piece) > _LARGEST_COMMAND_SET_BYTES:
            raise ValueError("a command set without end")
        return super().write(piece)


class BoundedMessages(DIMSEServiceProvider):  # type: ignore[misc]
    """Collects messages; a data set over the limit arrives as an empty CollectedDataSet that says so."""

    def __init__(self, association: Any, largest_data_set: int) -> None:
        """`largest_data_set`: in bytes."""
        super().__init__(association)
        self.message: Any
        self._largest = largest_data_set

    def receive_primitive(self, primitive: Any) -> None:
        """One more P-DATA primitive. What is no message aborts the association instead of leaving it without a reader."""
        if self.message is None:
            message = DIMSEMessage()
            message.encoded_command_set, message.data_set = _CommandSet(), CollectedDataSet(self._largest)
            self.message = message
        try:
            super().receive_primitive(primitive)
        except Exception:  # noqa: BLE001 - pynetdicom raises whatever a broken command set leads to
            self.message = None
            self.dul.event_queue.put(_INVALID_PDU)
