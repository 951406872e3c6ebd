"""`qcnode demo`: the archive, the node and the phantom study, from the study that goes in to the answers in the archive."""

import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification
from rich.console import Console

from qcnode.cli import app
from qcnode.demo.holdings import read_store_log
from qcnode.demo.run import run_demo


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Exit code, standard output and folder of `qcnode demo`, which ends by itself where it is not on a terminal."""
    parent = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "qcnode", "demo"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **in_folder(parent)}, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    (folder,) = parent.glob("qcnode-demo-*")
    return done.returncode, done.stdout + done.stderr, folder


def in_folder(parent: Path) -> dict[str, str]:
    return {"TMPDIR": str(parent), "COLUMNS": "160"}


def test_good_query_passes_and_bad_ones_fail(demonstration: tuple[int, str, Path]) -> None:
    code, text, _ = demonstration
    assert code == 0, text
    assert re.search(r"careful .*PASS", text)
    assert len(re.findall(r"(?:displaced|hasty) .*FAIL", text)) == 4  # in the table of answers and in the worklist


def test_error_maps_of_the_bad_queries_show_where_they_are_wrong(demonstration: tuple[int, str, Path]) -> None:
    _, text, _ = demonstration
    answers = text[: text.index("worklist")]
    for segmenter in ("displaced", "hasty"):
        cells = next(line for line in answers.splitlines() if segmenter in line).split("│")
        assert float(cells[7]) >= 0.6


def test_answers_in_the_archive(demonstration: tuple[int, str, Path]) -> None:
    folder = demonstration[2]
    records = read_store_log(folder / "archive")
    assert len({r.sop_instance_uid for r in records}) == len(records)
    kinds = Counter(dcmread(p, stop_before_pixels=True).Modality for p in (folder / "archive").glob("*.dcm"))
    assert kinds["SR"] == 3
    assert kinds["SEG"] >= 3 + 2
    assert kinds["OT"] == 3


def test_previews_and_verdicts_lie_where_the_text_says(demonstration: tuple[int, str, Path]) -> None:
    _, text, _ = demonstration
    previews = [Path(p) for p in re.findall(r"(/\S+preview\.png)", text)]
    assert len(previews) == 3
    for preview in previews:
        assert preview.read_bytes().startswith(b"\x89PNG")
        assert json.loads((preview.parent / "verdict.json").read_text())["predicted"]["dsc"] > 0


def test_time_limit_is_a_clear_failure(tmp_path: Path) -> None:
    text = io.StringIO()
    code = run_demo(exit_at_end=True, console=Console(file=text, width=160), folder=tmp_path, time_limit_seconds=0)
    assert code == 1
    assert "careful, displaced, hasty" in text.getvalue()


@pytest.mark.timeout(420)
def test_on_a_terminal_it_opens_the_worklist_and_stays_until_ctrl_c(tmp_path: Path) -> None:
    """A browser that only notes the address: it leads to the worklist, once."""
    noted = tmp_path / "address"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > "{noted}.new" && mv "{noted}.new" "{noted}"\n')
    browser.chmod(0o755)
    ours, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    command = [sys.executable, "-m", "qcnode", "demo"]
    environment = {**os.environ, **in_folder(tmp_path), "BROWSER": f"{browser} %s"}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    try:
        text = "".join(said_until(ours, "Ctrl-C ends"))
        assert "It is open in your browser" in text
        address = noted.read_text()
        assert "link=" not in text, "the link is the browser's alone"
        port = re.search(r"QCNODE at 127\.0\.0\.1:(\d+)", text)
        assert port
        association = AE().associate("127.0.0.1", int(port[1]), [build_context(Verification)], ae_title="QCNODE")
        assert association.send_c_echo().Status == 0x0000
        association.release()
        reader, stranger = (build_opener(HTTPCookieProcessor()) for _ in range(2))
        page = reader.open(address, timeout=20)
        assert "link=" not in page.url
        assert b'data-item="1"' in page.read()
        with pytest.raises(HTTPError, match="401"):
            stranger.open(address, timeout=20)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        os.close(ours)


def said_until(terminal: int, end: str) -> Iterator[str]:
    """What a program writes to its terminal, until it has said `end`."""
    text = ""
    while end not in text:
        said = os.read(terminal, 4096).decode(errors="replace")
        text += said
        yield said


@pytest.mark.parametrize(
    ("words", "on_a_terminal", "exits"),
    [([], True, False), ([], False, True), (["--stay"], False, False), (["--exit"], True, True)],
)
def test_it_stays_on_a_terminal_unless_told(monkeypatch: pytest.MonkeyPatch, words: list[str], on_a_terminal: bool, exits: bool) -> None:
    asked: list[bool] = []
    monkeypatch.setattr("qcnode.demo.run.run_demo", lambda **given: asked.append(given["exit_at_end"]) or 0)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(sys, stream, Mock(wraps=getattr(sys, stream), isatty=lambda: on_a_terminal))
    assert app(["demo", *words], standalone_mode=False) == 0
    assert asked == [exits]
