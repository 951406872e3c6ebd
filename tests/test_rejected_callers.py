"""Who was turned away: counted without a database, kept in a bounded table, and shown as the stranger's text that it is."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from store_samples import at
from typer.testing import CliRunner
from web_samples import Clock, open_site

from qcnode import cli
from qcnode.cli import app
from qcnode.dicom_listener import Peer, Rejections
from qcnode.errors import Retryable
from qcnode.rejection import OTHERS, REASONS, Rejection, Times
from qcnode.store.database import open_database
from qcnode.store.rejected_callers import MAXIMUM_ROWS, RejectedCallers

HOSTILE = "<b>x</b>[red]"


def rejection(title: str = "PACS", reason: str = "caller-unknown", listener: str = "listen", address: str = "192.0.2.7") -> Rejection:
    return Rejection(listener, reason, address, title, "QCNODE")


def peer(title: str, address: str = "192.0.2.7") -> Peer:
    return Peer(ip_address(address), title, "QCNODE")


def taken(rejections: Rejections) -> dict[Rejection, Times]:
    found: dict[Rejection, Times] = {}
    rejections.hand_over(found.update)
    return found


def test_the_same_again_is_one_row_with_a_count(tmp_path: Path) -> None:
    table, clock = RejectedCallers(open_database(tmp_path)), Clock(at(0))
    rejections = Rejections(clock)
    news = []
    for _ in range(3):
        news.append(rejections.note("listen", "caller-unknown", "192.0.2.7", peer("PACS")))
        clock.move(seconds=1)
    assert news == [True, False, False], "only the first is worth a line in the log"
    rejections.hand_over(table.add)
    rejections.hand_over(table.add)
    assert table.list() == [(rejection(), Times(3, at(0), at(2)))]
    rejections.note("listen", "caller-unknown", "192.0.2.7", peer("PACS"))
    rejections.hand_over(table.add)
    assert table.list() == [(rejection(), Times(4, at(0), at(3)))]


def test_a_flood_stays_small_in_memory_and_in_the_table(tmp_path: Path) -> None:
    table, clock = RejectedCallers(open_database(tmp_path)), Clock(at(0))
    rejections = Rejections(clock)
    for number in range(2000):
        rejections.note("listen", "caller-unknown", "192.0.2.7", peer(f"T{number}"))
    found = taken(rejections)
    assert len(found) == 11
    assert found[Rejection("listen", "caller-unknown", "192.0.2.7", OTHERS, OTHERS)].count == 1990
    for number in range(2000):
        address = str(ip_address("198.51.100.0") + number)
        rejections.note("listen", "caller-unknown", address, peer("T", address))
    found = taken(rejections)
    assert len(found) == 201
    assert sum(times.count for times in found.values()) == 2000
    for round_ in range(4):
        table.add({rejection(f"{round_}-{n}"): Times(1, at(round_), at(round_)) for n in range(200)})
    kept = table.list()
    assert len(kept) == MAXIMUM_ROWS
    assert kept[0][1].last_at == at(3), "those who came last"


def test_a_busy_database_loses_no_count() -> None:
    rejections = Rejections(Clock(at(0)))

    def busy(_: object) -> None:
        raise Retryable("the database is busy")

    rejections.note("listen", "silent", "192.0.2.7")
    rejections.hand_over(busy)
    rejections.note("listen", "silent", "192.0.2.7")
    assert [times.count for times in taken(rejections).values()] == [2]


@pytest.mark.parametrize(
    ("caller", "line"),
    [
        (rejection(), '- {ae_title: "PACS", address: "192.0.2.7"}'),
        (rejection('a"b: #'), '- {ae_title: "a\\"b: #", address: "192.0.2.7"}'),
        (rejection(listener="ups"), '- {ae_title: "PACS", address: "192.0.2.7", reader: NAME}'),
        (rejection(reason="limit"), None),
        (rejection(r"\x00PACS"), None),
        (rejection(OTHERS), None),
        (rejection(""), None),
    ],
)
def test_the_line_that_would_let_a_caller_in(caller: Rejection, line: str | None) -> None:
    assert caller.config_line == line


def test_the_page_is_for_administrators_and_escapes_what_strangers_call_themselves(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    site.context.rejected_callers.add({rejection(HOSTILE): Times(7, at(0), at(60))})
    site.context.rejected_callers.add({rejection("", reason="no-certificate"): Times(1, at(0), at(0) + timedelta(days=1))})
    page = site.browser("root").get("/callers")
    assert page.status_code == 200
    assert "&lt;b&gt;x&lt;/b&gt;[red]" in page.text
    assert HOSTILE not in page.text
    assert "Shows no certificate" in page.text
    assert "ae_title: &#34;&lt;b&gt;" in page.text
    assert site.browser("lund").get("/callers").status_code == 403
    assert site.browser().get("/callers").status_code == 303


def test_the_command_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.console, "width", 250)  # a dumb terminal is 80 wide whatever COLUMNS says
    config = tmp_path / "config.yaml"
    config.write_text(f"storage: {{directory: {tmp_path}}}")
    runner = CliRunner()
    assert "Nobody" in runner.invoke(app, ["callers", "--config", str(config)]).output
    database = open_database(tmp_path)
    RejectedCallers(database).add({rejection(HOSTILE[:16]): Times(7, at(0), at(60))})
    database.close()
    said = runner.invoke(app, ["callers", "--config", str(config)]).output
    assert "<b>x</b>[red]" in said
    assert REASONS["caller-unknown"][:12] in said
