"""`qcnode backup` and `qcnode restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from qcnode.cli_progress import progress
from qcnode.clock import utc_now
from qcnode.config import load_config

EXIT_NOT_WHOLE = 1

console = Console()
errors = Console(stderr=True)

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", show_default=True)]
Target = Annotated[Path, typer.Argument(help="A directory, or a file that ends with .tar.")]


def backup(
    target: Target,
    config: ConfigOption = Path("config.yaml"),
    verify: Annotated[bool, typer.Option("--verify", help="Check the backup at TARGET instead of making one.")] = False,
) -> None:
    """Back up database, objects, results and config.yaml to TARGET, which must not exist. The node may run.

    Exit codes: 0 the backup is whole; 1 files are missing or changed; 2 wrong usage or configuration.
    """
    from qcnode.backup.verify import verify as verify_backup
    from qcnode.backup.write import back_up

    if verify:
        with progress("verifying", errors) as on_file:
            wrong = verify_backup(target, on_file=on_file)
        _say([*wrong, f"{len(wrong)} findings" if wrong else "the backup is whole"])
        raise typer.Exit(EXIT_NOT_WHOLE if wrong else 0)
    with progress("files", errors) as on_file:
        made = back_up(load_config(config), config, target, now=utc_now(), on_file=on_file)
    _say([f"missing in the storage directory: {name}" for name in made.missing])
    _say([f"{made.files} files, {made.bytes // 2**20} MB: {target}"])
    raise typer.Exit(EXIT_NOT_WHOLE if made.missing else 0)


def restore(target: Target, config: ConfigOption = Path("config.yaml")) -> None:
    """Put the backup at TARGET into storage.directory, which must be empty, with no node on it."""
    from qcnode.backup.restore import restore as restore_backup

    storage = load_config(config).storage.directory
    with progress("files", errors) as on_file:
        files = restore_backup(target, storage, on_file=on_file)
    _say([f"{files} files restored to {storage}; see the chapter on restoring in docs/operations.md before the node starts"])


def _say(lines: list[str]) -> None:
    for line in lines:
        console.print(escape(line), soft_wrap=True, highlight=False)
