"""`qcnode users ...`: who may sign in to the worklist in the browser."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qcnode.clock import utc_now
from qcnode.config import load_config
from qcnode.store.accounts import Accounts, Role
from qcnode.store.database import open_database
from qcnode.web.passwords import Passwords

users_app = typer.Typer(help="Who may sign in to the worklist in the browser.", no_args_is_help=True)
console = Console()

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
NameArgument = Annotated[str, typer.Argument(help="The name to sign in with, which is the reader on the worklist.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from the standard input instead of asking for it.")]

DEFAULT_CONFIG = Path("config.yaml")


@contextmanager
def _accounts(config: Path) -> Iterator[Accounts]:
    database = open_database(load_config(config).storage.directory)
    try:
        yield Accounts(database)
    finally:
        database.close()


def _password_hash(from_stdin: bool) -> str:
    given = sys.stdin.readline().rstrip("\r\n") if from_stdin else typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        return Passwords().hash(given)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@users_app.command()
def add(
    name: NameArgument,
    role: Annotated[
        Role, typer.Option("--role", help="reader: decides; supervisor: also reassigns and sees the audit; admin: everything.")
    ] = Role.READER,
    password_stdin: FromStdin = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Let somebody sign in. The password is asked for and kept as an argon2id hash only."""
    with _accounts(config) as accounts:
        accounts.add(name, _password_hash(password_stdin), role, by=getpass.getuser(), now=utc_now())
    console.print(f"{escape(name)} may sign in as {role}.")


@users_app.command("list")
def list_accounts(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Show the accounts."""
    with _accounts(config) as accounts:
        found = accounts.list()
    table = Table("name", "role", "since", "state")
    for account in found:
        state = f"disabled {account.disabled_at:%Y-%m-%d}" if account.disabled_at else "may sign in"
        table.add_row(escape(account.name), account.role, f"{account.created_at:%Y-%m-%d}", state)
    console.print(table if found else "There are no accounts; `qcnode users add NAME --role admin` makes the first one.")


@users_app.command()
def password(name: NameArgument, password_stdin: FromStdin = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Set another password. The account is signed out everywhere."""
    with _accounts(config) as accounts:
        accounts.set_password(name, _password_hash(password_stdin), by=getpass.getuser(), now=utc_now())
    console.print(f"{escape(name)} has another password.")


@users_app.command()
def disable(name: NameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Let somebody sign in no more, and sign them out everywhere. What they decided keeps their name."""
    with _accounts(config) as accounts:
        accounts.disable(name, by=getpass.getuser(), now=utc_now())
    console.print(f"{escape(name)} can not sign in any more.")
