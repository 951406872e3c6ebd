"""The commands. Each one reads the configuration, calls one thing, prints what it said, and ends with a documented exit code."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qcnode import __version__
from qcnode.case import Verdict
from qcnode.cli_backup import backup, restore
from qcnode.cli_outbox import outbox_app
from qcnode.cli_progress import progress
from qcnode.cli_users import users_app
from qcnode.cli_worklist import worklist_app
from qcnode.clock import utc_now
from qcnode.config import Config, load_config
from qcnode.errors import ConfigurationError, QCNodeError
from qcnode.outcome import Outcome

EXIT_FINDINGS = 1
EXIT_USAGE = 2
EXIT_UNASSESSABLE = 3
EXIT_NO_SEG = 4

app = typer.Typer(
    help="Judges DICOM segmentations without a reference: predicted DSC and NSD, error maps, a review worklist.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(worklist_app, name="worklist")
app.add_typer(users_app, name="users")
app.add_typer(outbox_app, name="outbox")
app.command()(backup)
app.command()(restore)
console = Console()
errors = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)]
OptionalConfig = Annotated[Path | None, typer.Option("--config", "-c", help="The configuration file; defaults where it is not given.")]


@app.callback()
def _main() -> None:
    """Not for diagnosis. `qcnode demo` shows everything without any configuration."""


@app.command()
def version() -> None:
    """Print the version."""
    console.print(__version__)


@app.command()
def serve(config: ConfigOption = Path("config.yaml")) -> None:
    """Run the node: listener, workers, delivery and scheduler. SIGTERM or Ctrl-C ends it cleanly."""
    from qcnode.node import Node
    from qcnode.observe.logging import set_up_logging

    settings = load_config(config)
    set_up_logging(settings.logging)
    Node(settings).run_until_signal()


@app.command()
def assess(
    directory: Annotated[Path, typer.Argument(help="A folder with MR series and the SEGs drawn on them.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the results go: <out>/<SEG SOP Instance UID>/.", file_okay=False)],
    config: OptionalConfig = None,
) -> None:
    """Judge every SEG under DIRECTORY, without a network.

    Exit codes: 0 every SEG is PASS, FAIL, REVIEW or NOT_APPLICABLE; 3 at least one is UNASSESSABLE; 4 no SEG was found;
    2 wrong usage or configuration.
    """
    from qcnode.directory import assess_directory, find_headers
    from qcnode.judging.here import JudgeHere, load_judges
    from qcnode.observe.logging import set_up_logging
    from qcnode.tasks import load_tasks

    settings = load_config(config) if config else Config()
    set_up_logging(settings.logging)  # pydicom's warnings quote the elements that they are about
    found = find_headers(directory)
    if not found.segmentations:
        errors.print(f"No SEG under {escape(str(directory))}: {len(found.headers)} other DICOM objects, {found.unreadable} other files.")
        raise typer.Exit(EXIT_NO_SEG)
    with progress("judging", errors) as on_progress:
        tasks = load_tasks(settings)
        rules, judge = [task.rule for task in tasks.values()], JudgeHere(load_judges(tasks, settings.inference), __version__)
        outcomes = assess_directory(found, out, rules, judge, now=utc_now, on_progress=on_progress)
    console.print(_outcome_table(outcomes))
    console.print(f"Results: {escape(str(out))}", soft_wrap=True)
    if any(o.verdict is Verdict.UNASSESSABLE for o in outcomes):
        raise typer.Exit(EXIT_UNASSESSABLE)


@app.command()
def demo(
    exit_at_end: Annotated[
        bool | None,
        typer.Option(
            "--exit/--stay",
            help="End when all answers are there, or open the worklist and stay until Ctrl-C. Left out: stay on a terminal.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """See the whole road on this machine: an archive, the node, a phantom study with one good and two bad segmentations, the worklist."""
    from qcnode.demo.run import run_demo

    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    raise typer.Exit(run_demo(exit_at_end=not is_terminal if exit_at_end is None else exit_at_end, console=console))


@app.command()
def doctor(
    config: ConfigOption = Path("config.yaml"),
    notify: Annotated[bool, typer.Option("--notify", help="Send a test to every channel of notifications.")] = False,
) -> None:
    """Check configuration, database, disk, weights, device, every destination and channel. Exit code 1 if one of them fails."""
    from qcnode.doctor import examine

    settings = load_config(config)
    console.print(f"[green]ok  [/] configuration: {escape(str(config))}", soft_wrap=True)
    failed = False
    for check in examine(settings, notify=notify):
        mark = "[red]FAIL[/]" if not check.ok else "[yellow]warn[/]" if check.is_warning else "[green]ok  [/]"
        console.print(f"{mark} {escape(check.name)}: {escape(check.detail)}", soft_wrap=True)
        failed |= not check.ok
        if not check.ok or check.is_warning:
            console.print(f"     → {escape(check.advice)}", soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


@app.command()
def audit(
    config: ConfigOption = Path("config.yaml"),
    offline: Annotated[bool, typer.Option("--offline", help="Ask no destination what it holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
) -> None:
    """Prove that everything accepted is there and every answer is where it belongs, once; or list what differs. The node may run.

    Exit codes: 0 nothing differs; 1 something does; 2 wrong usage or configuration.
    """
    from qcnode.audit.run import audit as audit_node

    settings = load_config(config)
    with progress("objects", errors) as on_progress:
        report = audit_node(settings, offline=offline, on_progress=on_progress)
    if as_json:
        sys.stdout.write(report.as_json() + "\n")
    else:
        for line in report.as_lines():
            console.print(escape(line), soft_wrap=True, highlight=False)
    raise typer.Exit(EXIT_FINDINGS if report.findings else 0)


@app.command()
def status(config: ConfigOption = Path("config.yaml")) -> None:
    """What the node has received, what waits and why, what was judged and what is still to be delivered."""
    from qcnode.status import describe_state

    for title, rows in describe_state(load_config(config)).items():
        table = Table(title=title, title_justify="left", show_header=False)
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        console.print(table if rows else f"[bold]{title}[/]: nothing")


@app.command()
def callers(config: ConfigOption = Path("config.yaml")) -> None:
    """Who was turned away by the DICOM listeners, why, how often, and the line of config.yaml that would let them in."""
    from qcnode.rejection import REASONS
    from qcnode.store.database import open_database
    from qcnode.store.rejected_callers import RejectedCallers

    database = open_database(load_config(config).storage.directory)
    found = RejectedCallers(database).list()
    database.close()
    table = Table("last", "first", "times", "listener", "from", "calls itself", "calls", "why", "to let it in")
    for caller, times in found:
        when = (f"{at:%Y-%m-%d %H:%M}" for at in (times.last_at, times.first_at))
        said = (caller.listener, caller.address, caller.calling_ae_title, caller.called_ae_title, REASONS.get(caller.reason, caller.reason))
        table.add_row(*when, str(times.count), *(escape(cell) for cell in (*said, caller.config_line or "")))
    console.print(table if found else "Nobody has been turned away.")


def _outcome_table(outcomes: list[Outcome]) -> Table:
    table = Table("SEG", "task", "verdict", "predicted DSC", "predicted NSD", "reasons")
    for outcome in outcomes:
        numbers = (f"{outcome.predicted.dsc:.3f}", f"{outcome.predicted.nsd:.3f}") if outcome.predicted else ("–", "–")
        reasons = "; ".join(f"{r.code}: {r.text}" for r in outcome.reasons)
        table.add_row(outcome.query.sop_instance_uid, outcome.task or "–", outcome.verdict, *numbers, escape(reasons))
    return table


def main() -> None:
    """Entry point: errors that a person must act on are one clear text and exit code 2, not a traceback."""
    os.umask(0o077)  # what is written here is of patients: for the account that runs it alone
    try:
        app()
    except ConfigurationError as error:
        errors.print(f"[red]Configuration:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(EXIT_USAGE)
    except QCNodeError as error:
        errors.print(f"[red]Error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(1)
