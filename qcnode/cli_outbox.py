"""`qcnode outbox ...`: the deliveries, and what a person does about those that did not arrive."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qcnode.clock import utc_now
from qcnode.config import load_config
from qcnode.store.database import open_database
from qcnode.store.delivery import Delivery
from qcnode.store.outbox import Outbox

outbox_app = typer.Typer(help="Deliveries: what waits, what is proven, and what did not arrive.", no_args_is_help=True)
console = Console()

DEFAULT_CONFIG = Path("config.yaml")
EXIT_NOT_ALL = 1
EXIT_NOTHING = 4


class State(StrEnum):
    """The states of store.delivery.DELIVERY_MOVES."""

    PENDING = "PENDING"
    SENDING = "SENDING"
    DELIVERED = "DELIVERED"
    PROVING = "PROVING"
    PROVEN = "PROVEN"
    UNPROVEN = "UNPROVEN"
    DEAD = "DEAD"
    DROPPED = "DROPPED"


_RETRIED = (State.DEAD, State.UNPROVEN, State.PENDING)
_DROPPED = (State.DEAD,)
_SHOWN = ("delivery_id", "destination", "case_id", "kind", "sop_instance_uid", "state", "proof", "commitment", "attempts", "last_error")
_TIMES = ("created_at", "next_attempt_at", "delivered_at", "proven_at")

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Deliveries, by their numbers in `qcnode outbox list`.", show_default=False)]
StateOption = Annotated[list[State] | None, typer.Option("--state", case_sensitive=False, help="Only in this state; may be repeated.")]
DestinationOption = Annotated[str | None, typer.Option("--destination", help="Only to this destination.")]
CaseOption = Annotated[str | None, typer.Option("--case", help="Only of this case.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@contextmanager
def _outbox(config: Path) -> Iterator[Outbox]:
    database = open_database(load_config(config).storage.directory)
    try:
        yield Outbox(database)
    finally:
        database.close()


@outbox_app.command("list")
def list_deliveries(
    state: StateOption = None,
    destination: DestinationOption = None,
    case: CaseOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show deliveries, oldest first. Without --state: all that are not proven."""
    states = state or [s for s in State if s != State.PROVEN]
    with _outbox(config) as outbox:
        found = _matching(outbox, states, destination, case)
    if as_json:
        typer.echo(json.dumps([_facts(delivery) for delivery in found], indent=1))
    elif found:
        console.print(_table(found))
    else:
        console.print("No such delivery.")


@outbox_app.command()
def retry(
    numbers: Numbers = None,
    state: StateOption = None,
    destination: DestinationOption = None,
    case: CaseOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Try deliveries again at once: send what was not taken, look for what is not proven. Takes a drop back, too.

    Without numbers and --state: all that are DEAD, UNPROVEN or PENDING. Exit codes: 0 done; 1 some could not be; 4 there is none;
    2 wrong usage.
    """
    with _outbox(config) as outbox:
        chosen = _chosen(outbox, numbers, state, destination, case, _RETRIED)
        _act(chosen, outbox.try_now, "tried again", "proven, in work, or its file is gone")


@outbox_app.command()
def drop(
    numbers: Numbers = None,
    state: StateOption = None,
    destination: DestinationOption = None,
    case: CaseOption = None,
    yes: YesOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Give deliveries up: the destination will not get these objects. `qcnode outbox retry NUMBER` takes it back.

    Without numbers and --state: all that are DEAD. Exit codes as of `retry`; 1 also where the question is answered with no.
    """
    with _outbox(config) as outbox:
        chosen = _chosen(outbox, numbers, state, destination, case, _DROPPED)
        if not yes:
            console.print(_table(chosen))
            typer.confirm(f"Give up {len(chosen)} deliveries?", abort=True)
        _act(chosen, outbox.drop, "dropped", "neither waiting nor dead")


def _matching(outbox: Outbox, states: Sequence[State], destination: str | None, case: str | None) -> list[Delivery]:
    return [delivery for delivery in outbox.list(destination=destination, case_id=case) if delivery.state in states]


def _chosen(
    outbox: Outbox,
    numbers: Sequence[int] | None,
    state: Sequence[State] | None,
    destination: str | None,
    case: str | None,
    otherwise: Sequence[State],
) -> list[Delivery]:
    """By number, or by filter. Ends the command where nothing is named, or nothing found."""
    if numbers:
        if state or destination or case:
            raise typer.BadParameter("numbers, or --state, --destination, --case")
        found = [delivery for number in dict.fromkeys(numbers) if (delivery := outbox.get(number)) is not None]
        missing = len(set(numbers)) - len(found)
        if missing:
            raise typer.BadParameter(f"{missing} of these numbers are none of a delivery")
        return found
    if not (state or destination or case):
        raise typer.BadParameter("name deliveries by number, or with --state, --destination or --case")
    found = _matching(outbox, state or otherwise, destination, case)
    if not found:
        console.print("No such delivery.")
        raise typer.Exit(EXIT_NOTHING)
    return found


def _act(chosen: Sequence[Delivery], act: Callable[[int, str, datetime], bool], done: str, otherwise: str) -> None:
    actor, number = getpass.getuser(), 0
    for delivery in chosen:
        if act(delivery.delivery_id, actor, utc_now()):
            number += 1
        else:
            console.print(f"Delivery {delivery.delivery_id} is not: {otherwise}.", soft_wrap=True)
    console.print(f"{number} of {len(chosen)} deliveries {done}.")
    if number < len(chosen):
        raise typer.Exit(EXIT_NOT_ALL)


def _facts(delivery: Delivery) -> dict[str, object]:
    times = {name: getattr(delivery, name) for name in _TIMES}
    return {name: getattr(delivery, name) for name in _SHOWN} | {name: at and at.isoformat() for name, at in times.items()}


def _table(found: Sequence[Delivery]) -> Table:
    table = Table("number", "destination", "kind", "case", "state", "since", "tries", "error")
    for d in found:
        cells = (str(d.delivery_id), d.destination, d.kind, d.case_id, d.state, f"{d.created_at:%Y-%m-%d %H:%M}", str(d.attempts))
        table.add_row(*(escape(cell) for cell in cells), escape(d.last_error or ""))
    return table
