from pathlib import Path

import pytest

from qcnode.demo.browser import open_in_browser

ADDRESS = "http://127.0.0.1:1/sign-in?link=phantom"


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_screen_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda address: pytest.fail("a browser for terminals would take the demonstration's own"))
    assert not open_in_browser(ADDRESS)


@pytest.mark.parametrize(("exit_code", "opened"), [(0, True), (1, False)])
def test_the_reader_s_browser_gets_the_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exit_code: int, opened: bool) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {tmp_path}/address\nexit {exit_code}\n')
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.setattr("webbrowser._tryorder", None)  # it looks for browsers once in a process
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert open_in_browser(ADDRESS) is opened
    assert (tmp_path / "address").read_text() == ADDRESS


def test_a_browser_that_does_not_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(address: str) -> bool:
        raise OSError

    monkeypatch.setenv("BROWSER", "anything")
    monkeypatch.setattr("webbrowser.open", broken)
    assert not open_in_browser(ADDRESS)
