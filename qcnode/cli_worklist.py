"""`qcnode worklist ...`: the review queue on the command line. Decisions judge the query SEG."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qcnode import __version__
from qcnode.clock import utc_now
from qcnode.cohort.pseudonyms import Pseudonyms, node_key
from qcnode.cohort.write import Wanted, new_folder, write_cohort
from qcnode.config import load_config
from qcnode.errors import ConfigurationError
from qcnode.regions import Mark
from qcnode.review import Review
from qcnode.store.database import open_database
from qcnode.store.final_decisions import DecisionFilters
from qcnode.store.worklist import WAITING, Decision, Filters, Item, Judgement, Order, Reading, Stage, Worklist

worklist_app = typer.Typer(help="Segmentations that a radiologist should look at, worst first.", no_args_is_help=True)
console = Console()

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
ItemArgument = Annotated[int, typer.Argument(help="The item's number, as `qcnode worklist list` shows it.")]
ReaderOption = Annotated[str, typer.Option("--reader", "-r", default_factory=getpass.getuser, help="Who acts.", show_default="login name")]


DEFAULT_CONFIG = Path("config.yaml")
EXIT_NO_DECISION = 4
_DAY = ["%Y-%m-%d"]
_HIDDEN = "hidden"


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


def _marks(written: list[str]) -> dict[int, Mark]:
    """ "3=not-real" and the like. Raises typer.BadParameter."""
    try:
        pairs = [mark.split("=", 1) for mark in written]
        return {int(number): Mark(mark.upper().replace("-", "_")) for number, mark in pairs}
    except ValueError as error:
        raise typer.BadParameter("--region is written as 1=real, 2=not-real or 3=unsure") from error


@contextmanager
def _review(config: Path) -> Iterator[Review]:
    settings = load_config(config)
    database = open_database(settings.storage.directory)
    try:
        yield Review(Worklist(database), settings.review)
    finally:
        database.close()


@worklist_app.command("list")
def list_items(
    config: ConfigOption = DEFAULT_CONFIG,
    all_states: Annotated[bool, typer.Option("--all", help="Decided and superseded items, too.")] = False,
    order: Annotated[Order, typer.Option("--order", help="What comes first.")] = Order.WORST,
    stage: Annotated[Stage | None, typer.Option("--stage", case_sensitive=False, help="Only items at this reading.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 100,
) -> None:
    """Show the items that wait, worst first. What was drawn at random shows no prediction until its decision is final."""
    with _review(config) as review:
        page = review.page(Filters(states=() if all_states else WAITING, stage=stage), order, 0, limit, utc_now())
    if not page.total:
        console.print("The worklist is empty.")
        return
    console.print(items_table(page.items))
    if page.total > len(page.items):
        console.print(f"{len(page.items)} of {page.total} items; --limit shows more.")


@worklist_app.command()
def show(item: ItemArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show one item with its reasons, its preview picture and everything that was done with it."""
    with _review(config) as review:
        found, entries = review.show(item, utc_now()), review.history(item, utc_now())
        regions, readings = review.regions(item, utc_now()), review.readings(item, utc_now())
    table = Table(show_header=False)
    for name, value in _rows(found):
        table.add_row(name, escape(value))
    console.print(table)
    for region in regions:
        slices = f"slices {region.first_slice + 1} to {region.last_slice + 1}"
        mark = found.marks[region.number].lower().replace("_", " ") if region.number in found.marks else "not marked"
        console.print(f"error region {region.number}: {escape(region.tissue)}, {slices}, {region.volume_ml:g} ml, {mark}")
    for reading in readings:
        console.print(escape(_reading(reading)), soft_wrap=True)
    for entry in entries:
        console.print(f"{entry.at:%Y-%m-%d %H:%M:%S} {escape(entry.actor)}: {entry.action} {escape(str(entry.details))}", soft_wrap=True)


@worklist_app.command()
def claim(item: ItemArgument, reader: ReaderOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take an item, so that nobody else reads it at the same time. The claim ends after review.lease_minutes."""
    with _review(config) as review:
        claimed = review.claim(item, reader, utc_now())
    console.print(f"Item {item} is claimed by {escape(reader)} until {_clock_time(claimed.lease_until)}.")


@worklist_app.command()
def release(item: ItemArgument, reader: ReaderOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Give a claimed item back undecided."""
    with _review(config) as review:
        review.release(item, reader, utc_now())
    console.print(f"Item {item} is open again.")


@worklist_app.command()
def reassign(
    item: ItemArgument,
    to: Annotated[str, typer.Argument(help="Who is to read the item.")],
    reader: ReaderOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give an item that is open, or claimed by anybody, to another reader."""
    with _review(config) as review:
        claimed = review.reassign(item, reader, to, utc_now())
    console.print(f"Item {item} is claimed by {escape(to)} until {_clock_time(claimed.lease_until)}.")


@worklist_app.command()
def decide(
    item: ItemArgument,
    decision: Annotated[DecisionWord, typer.Argument(help="What the reader says of the query segmentation.")],
    reader: ReaderOption,
    comment: Annotated[str, typer.Option("--comment", "-m", help="Free text, kept with the decision.")] = "",
    reasons: Annotated[list[str] | None, typer.Option("--reason", help="One of review.reasons; may be repeated.")] = None,
    rating: Annotated[int | None, typer.Option("--rating", min=1, max=6, help="1 (worst) to 6 (best) stars.")] = None,
    regions: Annotated[list[str] | None, typer.Option("--region", help="Whether an error region is real: 1=real; may be repeated.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Decide about the query segmentation. An item that nobody holds is claimed on the way.

    The decision is held for review.hold_minutes, and can be taken back; then the running node makes it final.
    """
    marks = _marks(regions or [])
    with _review(config) as review:
        now = utc_now()
        if review.show(item, now).state == "OPEN":
            review.claim(item, reader, now)
        judgement = Judgement(_DECISIONS[decision], tuple(reasons or ()), comment, rating, marks)
        held = review.decide(item, reader, judgement, now)
    console.print(f"Item {item}: {decision}.")
    if review.settings.hold_minutes:
        console.print(f"Held until {_clock_time(held.held_until)}, then final; `qcnode worklist undo {item}` takes it back.")


@worklist_app.command()
def undo(item: ItemArgument, reader: ReaderOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take back a decision that is still held. The item is claimed again."""
    with _review(config) as review:
        claimed = review.undo(item, reader, utc_now())
    console.print(f"Item {item} is undecided, and claimed by {escape(reader)} until {_clock_time(claimed.lease_until)}.")


@worklist_app.command()
def reopen(
    item: ItemArgument,
    because: Annotated[str, typer.Option("--because", "-m", help="Why the decision is to be revised.")],
    reader: ReaderOption,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Revise a final decision, whoever made it. It stands until another one is final; the document about that one replaces the earlier."""
    with _review(config) as review:
        claimed = review.reopen(item, reader, because, utc_now(), of_anybody=True)
    console.print(f"Item {item} is reopened, and claimed by {escape(reader)} until {_clock_time(claimed.lease_until)}.")


@worklist_app.command()
def export(
    reader: ReaderOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write; new or empty.", file_okay=False)],
    task: Annotated[str | None, typer.Option("--task", help="Decisions about this task only.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_DAY, metavar="DAY", help="Decided on this day or later (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_DAY, metavar="DAY", help="Decided on this day or earlier (UTC).")] = None,
    images: Annotated[bool, typer.Option("--images", help="The query SEGs and images, too: training needs them, calibration not.")] = False,
    identifiable: Annotated[
        bool, typer.Option("--identifiable", help="Keep UIDs, readers, comments and times; images as they were received.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write final decisions and ratings as a cohort that `python -m training` reads (docs/training.md, "From decisions to thresholds").

    Of each segmentation the last final decision; never one that is still held. Without --identifiable, UIDs, readers, cases and patients
    appear under pseudonyms, months stand in place of times, comments stay here, and of images only listed attributes leave. Who exports
    what is kept in the audit.

    Exit codes: 0 written; 4 no final decision fits; 2 wrong usage or configuration; 1 anything else.
    """
    storage = load_config(config).storage.directory
    wanted = Wanted(task, since.date() if since else None, until.date() if until else None, images)
    filters = DecisionFilters(task, _midnight(since), _midnight(until, days=1))
    folder = new_folder(out)
    with _review(config) as review:
        decisions = review.final_decisions(filters, reader, utc_now(), identifiable=identifiable, images=images)
    if not decisions:
        console.print("No final decision fits: nothing was written.")
        raise typer.Exit(EXIT_NO_DECISION)
    try:
        manifest = write_cohort(decisions, folder, Pseudonyms(node_key(storage), identifiable), wanted, now=utc_now(), version=__version__)
    except OSError as error:
        raise ConfigurationError(f"the cohort can not be written ({error.strerror}): delete {out} and try again") from error
    console.print(f"{escape(str(out))}: {manifest.decisions} decisions about {manifest.patients} patients.", soft_wrap=True)
    if images and manifest.with_images < manifest.decisions:
        left_out = manifest.decisions - manifest.with_images
        console.print(f"{left_out} of them without images: purged (storage.keep_images_days), unreadable, or with text burned in.")


def _midnight(day: datetime | None, days: int = 0) -> datetime | None:
    """The beginning of that day (UTC), or of one so many days later."""
    return None if day is None else day.replace(tzinfo=UTC) + timedelta(days=days)


def items_table(items: Sequence[Item]) -> Table:
    """The worklist as a table."""
    table = Table("item", "verdict", "predicted DSC", "NSD", "patient", "patient ID", "study date", "task", "reasons", "state")
    for i in items:
        reasons = "; ".join(r.text for r in i.reasons)
        numbers = (_number(i.predicted_dsc, i.dsc_low, i.dsc_high), _number(i.predicted_nsd, i.nsd_low, i.nsd_high))
        cells = (i.patient_name, i.patient_id, i.study_date, i.task, reasons, _state(i))
        table.add_row(str(i.item_id), i.verdict or _HIDDEN, *numbers, *(escape(cell) for cell in cells))
    return table


def _state(i: Item) -> str:
    if i.state in ("CLAIMED", "HELD"):
        said = f"{i.state} {i.reader}" if i.decision is None else f"{i.decision}, held, {i.reader}"
    else:
        said = i.decision or i.state
    return said if i.stage is Stage.FIRST or i.state in ("DECIDED", "SUPERSEDED") else f"{said}, {i.stage.lower()}"


def _reading(r: Reading) -> str:
    words = filter(None, (r.decision, f"{r.rating}/6" if r.rating else "", *r.reasons, r.comment))
    return f"{r.stage.lower()} reading, {r.reader}: {' '.join(words)}" + (f" (revised: {r.because})" if r.because else "")


def _rows(i: Item) -> list[tuple[str, str]]:
    until = {"CLAIMED": i.lease_until, "HELD": i.held_until}.get(i.state)
    return [
        ("item", str(i.item_id)),
        ("state", f"{i.state} until {_clock_time(until)}" if until else i.state),
        ("verdict", i.verdict or "hidden until the decision is final"),
        ("reasons", "\n".join(f"{r.code}: {r.text}" for r in i.reasons)),
        ("predicted DSC", _number(i.predicted_dsc, i.dsc_low, i.dsc_high)),
        ("predicted NSD", _number(i.predicted_nsd, i.nsd_low, i.nsd_high)),
        ("level of the intervals", "–" if i.interval_level is None else f"{100 * i.interval_level:g} %"),
        ("patient", f"{i.patient_name}, ID {i.patient_id}, born {i.birth_date or '–'}"),
        ("study", f"{i.study_instance_uid}, {i.study_date}, accession number {i.accession_number or '–'}"),
        ("made by", f"{i.institution or '–'}, {i.scanner or '–'}"),
        ("query SEG", f"{i.query_sop_instance_uid}, by {i.segmenter or '–'}"),
        ("preview", str(i.preview_path or "–")),
        ("reader", i.reader or "–"),
        ("decision", " ".join(filter(None, (i.decision, f"{i.rating}/6" if i.rating else "", *i.decision_reasons, i.comment))) or "–"),
    ]


def _number(value: float | None, low: float | None, high: float | None) -> str:
    """A predicted number, and its interval where there is one: "0.81 (0.72-0.88)"."""
    if value is None:
        return "–"
    return f"{value:.2f}" if low is None or high is None else f"{value:.2f} ({low:.2f}-{high:.2f})"


def _clock_time(moment: datetime | None) -> str:
    """Local time of day, with its zone."""
    return "–" if moment is None else f"{moment.astimezone():%H:%M:%S %Z}"
