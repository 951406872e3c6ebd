"""DIMSE messages that can not fill the memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage

_LARGEST_COMMAND_SET_BYTES = 2**16
_INVALID_PDU = "Evt19"  # PS3.8 9.2.2: the association is aborted


class Room:
    """How many bytes the data sets of all associations of a listener may take together. Safe to use from several threads."""

    def __init__(self, total: int) -> None:
        self._left, self._lock = total, threading.Lock()

    def take(self, number: int) -> bool:
        """Whether there was room for so many more bytes, which are now taken."""
        with self._lock:
            if number > self._left:
                return False
            self._left -= number
            return True

    def give_back(self, number: int) -> None:
        """So many bytes are free again."""
        with self._lock:
            self._left += number


class CollectedDataSet(BytesIO):
    """A data set in the making. One that grows over its limit, or finds no room any more, is dropped, and the rest of it is not kept.

    dropped: the key of the listener's settings that it went over, None while it is whole. Closing it gives its room back; so does its end.
    """

    def __init__(self, limit: int, room: Room, is_looked_at: Callable[[], bool]) -> None:
        """`limit`: in bytes. `is_looked_at`: whether who is given the data set asks for `dropped`."""
        super().__init__()
        self._limit, self._room, self._is_looked_at = limit, room, is_looked_at
        self._taken = 0
        self.dropped: str | None = None

    def write(self, piece: Any) -> int:
        """Append a fragment. Raises ValueError where it has to be dropped, and nobody would know."""
        size = len(piece)
        if self.dropped is None:
            if self._taken + size > self._limit:
                self._drop("maximum_object_mb")
            elif not self._room.take(size):
                self._drop("maximum_receiving_mb")
            else:
                self._taken += size
        return size if self.dropped else super().write(piece)

    def close(self) -> None:
        """Free the memory; BytesIO calls it at the latest when nobody refers to it any more."""
        self._give_back()
        super().close()

    def _drop(self, key: str) -> None:
        if not self._is_looked_at():
            raise ValueError("a data set without end, or one too many")
        self.dropped = key
        self.seek(0)
        self.truncate()
        self._give_back()

    def _give_back(self) -> None:
        self._room.give_back(self._taken)
        self._taken = 0


class _CommandSet(BytesIO):
    def write(self, piece: Any) -> int:
        if self.tell() + len(piece) > _LARGEST_COMMAND_SET_BYTES:
            raise ValueError("a command set without end")
        return super().write(piece)


class BoundedMessages(DIMSEServiceProvider):  # type: ignore[misc]
    """Collects messages. A C-STORE over a limit arrives with an empty CollectedDataSet that says so; any other one aborts."""

    def __init__(self, association: Any, largest_data_set: int, room: Room) -> None:
        """`largest_data_set`: in bytes. `room`: for the data sets of all associations."""
        super().__init__(association)
        self.message: Any
        self._largest, self._room = largest_data_set, room

    def receive_primitive(self, primitive: Any) -> None:
        """One more P-DATA primitive. What is no message aborts the association instead of leaving it without a reader."""
        if self.message is None:
            message = DIMSEMessage()
            message.encoded_command_set = _CommandSet()
            message.data_set = CollectedDataSet(self._largest, self._room, lambda: isinstance(message, C_STORE_RQ))
            self.message = message
        try:
            super().receive_primitive(primitive)
        except Exception:  # noqa: BLE001 - pynetdicom raises whatever a broken command set leads to
            self.message = None
            self.dul.event_queue.put(_INVALID_PDU)

    def forget(self) -> None:
        """Free what was collected, for the association has ended: the garbage collector may come much later."""
        left = [] if self.message is None else [self.message.data_set]
        while not self.msg_queue.empty():  # nobody else takes anything out any more
            left.append(getattr(self.msg_queue.get()[1], "DataSet", None))
        for data_set in left:
            if isinstance(data_set, CollectedDataSet):
                data_set.close()
