"""Reading the worklist page by page: which items, in which order, and what there is to choose from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, and_, exists, func, or_, select, true, tuple_

from qcnode.case import Verdict
from qcnode.store.items import WAITING, Stage, person_words
from qcnode.store.readings import is_of
from qcnode.store.schema import item_table, reading_table

_I = item_table.c


class Order(StrEnum):
    """What comes first; within one task, institution, scanner or segmenter the worst does."""

    WORST = "worst"
    NEWEST = "newest"
    OLDEST = "oldest"
    TASK = "task"
    INSTITUTION = "institution"
    SCANNER = "scanner"
    SEGMENTER = "segmenter"


@dataclass(frozen=True, slots=True)
class Filters:
    """Which items; what is None or empty does not matter.

    states: as they count now: a claim whose lease ran out is OPEN. verdict: never finds a hidden item, whose verdict it would tell.
    text: every word of it occurs in patient name, patient ID or accession number (patient data: it belongs into no URL and no log).
    free_for: a reader; without the items that another one has claimed, and those that this one has judged already. stage: the reading that
    is needed, or that settled the item.
    """

    states: tuple[str, ...] = WAITING
    verdict: Verdict | None = None
    task: str | None = None
    institution: str | None = None
    scanner: str | None = None
    segmenter: str | None = None
    reader: str | None = None
    text: str = ""
    free_for: str | None = None
    stage: Stage | None = None


@dataclass(frozen=True, slots=True)
class Facets:
    """The values that occur on the worklist, sorted; "" (unknown) is left out."""

    task: tuple[str, ...]
    institution: tuple[str, ...]
    scanner: tuple[str, ...]
    segmenter: tuple[str, ...]
    reader: tuple[str, ...]
    stage: tuple[str, ...]


_WORST: tuple[Column[Any], ...] = (_I.rank, _I.created_at, _I.item_id)
_KEYS: dict[Order, tuple[Column[Any], ...]] = {
    Order.WORST: _WORST,
    Order.NEWEST: (_I.created_at, _I.item_id),
    Order.OLDEST: (_I.created_at, _I.item_id),
    **{order: (_I[order.value], *_WORST) for order in (Order.TASK, Order.INSTITUTION, Order.SCANNER, Order.SEGMENTER)},
}


def rows_of_page(connection: Connection, filters: Filters, order: Order, offset: int, limit: int, now: datetime) -> list[Any]:
    """The rows from `offset` on, at most `limit` of them."""
    # the numbers first: sorting whole rows, of which only a page is wanted, costs several times as much
    numbers = select(_I.item_id).where(chosen(filters, now)).order_by(*_ordering(order)).offset(offset).limit(limit)
    return list(connection.execute(select(item_table).where(_I.item_id.in_(numbers)).order_by(*_ordering(order))))


def total(connection: Connection, filters: Filters, now: datetime) -> int:
    """How many items there are."""
    return connection.execute(select(func.count()).select_from(item_table).where(chosen(filters, now))).scalar_one()


def neighbours_of(connection: Connection, row: Any, filters: Filters, order: Order, now: datetime) -> tuple[int | None, int | None]:
    """Numbers of the items before and after `row`, which itself need not be among the chosen ones."""
    keys = _KEYS[order]
    here = tuple_(*(getattr(row, key.name) for key in keys), types=[key.type for key in keys])
    candidates = select(_I.item_id).where(chosen(filters, now)).limit(1)
    smaller = candidates.where(tuple_(*keys) < here).order_by(*(key.desc() for key in keys))
    greater = candidates.where(tuple_(*keys) > here).order_by(*keys)
    pair = (greater, smaller) if order is Order.NEWEST else (smaller, greater)
    before, after = (connection.execute(one).scalar_one_or_none() for one in pair)
    return before, after


def facets(connection: Connection) -> Facets:
    """What the filters offer."""
    names = [field.name for field in fields(Facets)]
    found = connection.execute(select(*(_I[name] for name in names)).distinct()).all()
    return Facets(**{name: tuple(sorted({row[place] for row in found} - {None, ""})) for place, name in enumerate(names)})


def chosen(filters: Filters, now: datetime) -> ColumnElement[bool]:
    """The condition that `filters` is."""
    conditions = [_in_states(filters.states, now)]
    for name in ("task", "institution", "scanner", "segmenter", "stage"):
        if (wanted := getattr(filters, name)) is not None:
            conditions.append(_I[name] == wanted)
    if filters.verdict is not None:
        conditions.append(and_(_I.verdict == filters.verdict.value, _is_shown()))
    if filters.reader is not None:
        conditions.append(and_(_I.reader == filters.reader, ~_has_run_out(now)))
    if filters.free_for is not None:
        conditions.append(or_(_I.state != "CLAIMED", _I.reader == filters.free_for, _has_run_out(now)))
        is_anybodys = or_(_I.stage.not_in((Stage.SECOND, Stage.ADJUDICATION)), _I.state.not_in(WAITING))
        conditions.append(or_(is_anybodys, ~_has_judged(filters.free_for)))
    conditions += [func.instr(_I.person_words, word) > 0 for word in person_words(filters.text).split()]
    return and_(true(), *conditions)


def _in_states(states: tuple[str, ...], now: datetime) -> ColumnElement[bool]:
    if not states:
        return true()
    if "OPEN" in states and "CLAIMED" not in states:
        return or_(_I.state.in_(states), _has_run_out(now))
    if "CLAIMED" in states and "OPEN" not in states:
        return and_(_I.state.in_(states), ~_has_run_out(now))
    return _I.state.in_(states)


def _has_run_out(now: datetime) -> ColumnElement[bool]:
    return and_(_I.state == "CLAIMED", _I.lease_until < now, _I.stage != Stage.REVISION)


def _is_shown() -> ColumnElement[bool]:
    """What `Item.is_hidden` is not."""
    return or_(_I.blind.is_(False), _I.state == "DECIDED", _I.stage == Stage.REVISION)


def _has_judged(reader: str) -> ColumnElement[bool]:
    return exists().where(reading_table.c.item_id == _I.item_id, is_of(reader))


def _ordering(order: Order) -> list[ColumnElement[Any]]:
    keys = _KEYS[order]
    return [key.desc() for key in keys] if order is Order.NEWEST else [key.asc() for key in keys]
