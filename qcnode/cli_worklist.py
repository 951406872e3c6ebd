"""`qcnode worklist ...`: the review queue on the command line. Decisions judge the query SEG."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qcnode.config import load_config
from qcnode.store.audit import Audit
from qcnode.store.database import open_database
from qcnode.store.worklist import Decision, Item, Worklist

worklist_app = typer.Typer(help="Segmentations that a radiologist should look at, worst first.", no_args_is_help=True)
console = Console()

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
ItemArgument = Annotated[int, typer.Argument(help="The item's number, as `qcnode worklist list` shows it.")]
ReaderOption = Annotated[str, typer.Option("--reader", "-r", default_factory=getpass.getuser, help="Who acts.", show_default="login name")]

DEFAULT_CONFIG = Path("config.yaml")


class DecisionWord(StrEnum):
    """How a decision is written on the command line."""

    accept = "accept"
    reject = "reject"
    needs_correction = "needs-correction"


_DECISIONS = {
    DecisionWord.accept: Decision.ACCEPT,
    DecisionWord.reject: Decision.REJECT,
    DecisionWord.needs_correction: Decision.NEEDS_CORRECTION,
}


@contextmanager
def _worklist(config: Path) -> Iterator[tuple[Worklist, Audit]]:
    database = open_database(load_config(config).storage.directory)
    try:
        yield Worklist(database), Audit(database)
    finally:
        database.close()


@worklist_app.command("list")
def list_items(
    config: ConfigOption = DEFAULT_CONFIG,
    all_states: Annotated[bool, typer.Option("--all", help="Decided and superseded items, too.")] = False,
) -> None:
    """Show the items, worst first."""
    with _worklist(config) as (worklist, _):
        items = worklist.list(None if all_states else ("OPEN", "CLAIMED"))
    if not items:
        console.print("The worklist is empty.")
        return
    console.print(items_table(items))


@worklist_app.command()
def show(item: ItemArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show one item with its reasons, its preview picture and everything that was done with it."""
    with _worklist(config) as (worklist, audit):
        found = worklist.show(item)
        entries = audit.entries(f"worklist-item/{item}")
    table = Table(show_header=False)
    for name, value in _rows(found):
        table.add_row(name, escape(value))
    console.print(table)
    for entry in entries:
        console.print(f"{entry.at:%Y-%m-%d %H:%M:%S} {escape(entry.actor)}: {entry.action} {escape(str(entry.details))}", soft_wrap=True)


@worklist_app.command()
def claim(item: ItemArgument, reader: ReaderOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take an item, so that nobody else reads it at the same time."""
    with _worklist(config) as (worklist, _):
        worklist.claim(item, reader, datetime.now(UTC))
    console.print(f"Item {item} is claimed by {escape(reader)}.")


@worklist_app.command()
def release(item: ItemArgument, reader: ReaderOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Give a claimed item back undecided."""
    with _worklist(config) as (worklist, _):
        worklist.release(item, reader, datetime.now(UTC))
    console.print(f"Item {item} is open again.")


@worklist_app.command()
def decide(
    item: ItemArgument,
    decision: Annotated[DecisionWord, typer.Argument(help="What the reader says of the query segmentation.")],
    reader: ReaderOption,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Free text, kept with the decision.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Decide about the query segmentation. An item that nobody holds is claimed on the way."""
    with _worklist(config) as (worklist, _):
        now = datetime.now(UTC)
        if worklist.show(item).state == "OPEN":
            worklist.claim(item, reader, now)
        worklist.decide(item, reader, _DECISIONS[decision], comment, now)
    console.print(f"Item {item}: {decision}.")


def items_table(items: list[Item]) -> Table:
    """The worklist as a table."""
    table = Table("item", "verdict", "predicted DSC", "NSD", "patient", "patient ID", "study date", "task", "reasons", "state")
    for i in items:
        state = f"{i.state} {i.reader}" if i.reader and i.state == "CLAIMED" else i.decision or i.state
        reasons = "; ".join(r.text for r in i.reasons)
        numbers = (_number(i.predicted_dsc, i.dsc_low, i.dsc_high), _number(i.predicted_nsd, i.nsd_low, i.nsd_high))
        cells = (i.patient_name, i.patient_id, i.study_date, i.task, reasons, state)
        table.add_row(str(i.item_id), i.verdict, *numbers, *(escape(cell) for cell in cells))
    return table


def _rows(i: Item) -> list[tuple[str, str]]:
    return [
        ("item", str(i.item_id)),
        ("state", i.state),
        ("verdict", i.verdict),
        ("reasons", "\n".join(f"{r.code}: {r.text}" for r in i.reasons)),
        ("predicted DSC", _number(i.predicted_dsc, i.dsc_low, i.dsc_high)),
        ("predicted NSD", _number(i.predicted_nsd, i.nsd_low, i.nsd_high)),
        ("level of the intervals", "–" if i.interval_level is None else f"{100 * i.interval_level:g} %"),
        ("patient", f"{i.patient_name}, ID {i.patient_id}"),
        ("study", f"{i.study_instance_uid}, {i.study_date}, accession number {i.accession_number or '–'}"),
        ("query SEG", i.query_sop_instance_uid),
        ("preview", str(i.preview_path or "–")),
        ("reader", i.reader or "–"),
        ("decision", f"{i.decision} {i.comment or ''}" if i.decision else "–"),
    ]


def _number(value: float | None, low: float | None, high: float | None) -> str:
    """A predicted number, and its interval where there is one: "0.81 (0.72-0.88)"."""
    if value is None:
        return "–"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f}-{high:.2f})"
