"""Which deliveries have left the outbox since somebody last looked."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from qcnode.store.delivery import UNDELIVERED
from qcnode.store.schema import delivery_table

_D = delivery_table.c


class LeftOutbox:
    """Remembers what was on its way. The state and destination of every delivery are in one index, so that a look is cheap."""

    def __init__(self, connection: Connection) -> None:
        """What leaves from now on is told."""
        self._newest = connection.execute(select(func.coalesce(func.max(_D.delivery_id), 0))).scalar_one()
        self._waiting = _on_their_way(connection)

    def look(self, connection: Connection, limit: int) -> list[int]:
        """The deliveries that have left since the last call, each once; at most `limit` of them."""
        new = select(_D.delivery_id).where(_D.delivery_id > self._newest).order_by(_D.delivery_id).limit(limit)
        ids = connection.execute(new).scalars().all()
        self._newest = max([self._newest, *ids])
        self._waiting.update(ids)
        on_their_way = _on_their_way(connection)
        left = sorted(self._waiting - on_their_way)[:limit]
        self._waiting = self._waiting.difference(left) | on_their_way  # what an administrator revives is on its way once more
        return left


def _on_their_way(connection: Connection) -> set[int]:
    destinations = select(_D.destination).distinct()
    return set(connection.execute(select(_D.delivery_id).where(_D.destination.in_(destinations), _D.state.in_(UNDELIVERED))).scalars())
