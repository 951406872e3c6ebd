"""DIMSE messages that can not fill the memory."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

_LARGEST_COMMAND_SET_BYTES = 2**16
_INVALID_PDU = "Evt19"  # PS3.8 9.2.2: the association is aborted


class CollectedDataSet(BytesIO):
    """A data set in the making. One that grows over its limit is dropped, and the rest of it is not kept."""

    def __init__(self, limit: int, is_looked_at: Callable[[], bool]) -> None:
        """`limit`: in bytes. `is_looked_at`: whether who is given the data set asks for `is_too_large`."""
        super().__init__()
        self._limit, self._is_looked_at = limit, is_looked_at
        self.is_too_large = False

    def write(self, piece: Any) -> int:
        """Append a fragment. Raises ValueError where it is too large, and nobody would know."""
        if not self.is_too_large and self.tell() + len(piece) > self._limit:
            if not self._is_looked_at():
                raise ValueError("a data set without end")
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
    """Collects messages. A C-STORE over the limit arrives with an empty CollectedDataSet that says so; any other one aborts."""

    def __init__(self, association: Any, largest_data_set: int) -> None:
        """`largest_data_set`: in bytes."""
        super().__init__(association)
        self.message: Any
        self._largest = largest_data_set

    def receive_primitive(self, primitive: Any) -> None:
        """One more P-DATA primitive. What is no message aborts the association instead of leaving it without a reader."""
        if self.message is None:
            message = DIMSEMessage()
            message.encoded_command_set = _CommandSet()
            message.data_set = CollectedDataSet(self._largest, lambda: isinstance(message, C_STORE_RQ))
            self.message = message
        try:
            super().receive_primitive(primitive)
        except Exception:  # noqa: BLE001 - pynetdicom raises whatever a broken command set leads to
            self.message = None
            self.dul.event_queue.put(_INVALID_PDU)
