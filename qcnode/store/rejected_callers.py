"""Who was turned away by the DICOM listeners: a row for each way of it, the newest few hundred of them."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.sqlite import insert

from qcnode.rejection import Rejection, Times
from qcnode.store.database import Database
from qcnode.store.schema import rejected_caller_table

MAXIMUM_ROWS = 500
_KEY = ("listener", "reason", "address", "calling_ae_title", "called_ae_title")


class RejectedCallers:
    """The table. It never has more than MAXIMUM_ROWS rows: those that were turned away last."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, found: Mapping[Rejection, Times]) -> None:
        """Count these, too, in one transaction. Raises Retryable."""
        table = rejected_caller_table
        rows = [
            {name: getattr(rejection, name) for name in _KEY} | {"count": t.count, "first_at": t.first_at, "last_at": t.last_at}
            for rejection, t in found.items()
        ]
        new = insert(table)
        counted = new.on_conflict_do_update(
            index_elements=_KEY,
            set_={"count": table.c.count + new.excluded.count, "last_at": func.max(table.c.last_at, new.excluded.last_at)},
        )
        newest = select(table.c.rejected_caller_id).order_by(table.c.last_at.desc()).limit(MAXIMUM_ROWS)
        with self._database.begin() as connection:
            connection.execute(counted, rows)
            connection.execute(delete(table).where(table.c.rejected_caller_id.not_in(newest)))

    def list(self) -> list[tuple[Rejection, Times]]:
        """All of them, the last one first."""
        table = rejected_caller_table
        with self._database.read() as connection:
            rows = connection.execute(select(table).order_by(table.c.last_at.desc(), table.c.rejected_caller_id.desc())).all()
        return [(Rejection(*(getattr(r, name) for name in _KEY)), Times(r._mapping["count"], r.first_at, r.last_at)) for r in rows]
