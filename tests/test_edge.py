"""What the doctor says of certificates and of listeners that are open to everybody."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from certificates import Authority, Files

from qcnode.config import Config
from qcnode.edge import check_edge


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def said(config: dict[str, object]) -> list[tuple[str, str, str]]:
    """(subject, ok, warn or FAIL, detail) of each finding."""
    checks = check_edge(Config.model_validate(config), datetime.now(UTC))
    return [(c.name, "FAIL" if not c.ok else "warn" if c.is_warning else "ok", c.detail) for c in checks]


def shown(files: Files) -> dict[str, object]:
    return {"certificate_file": files.certificate, "private_key_file": files.key}


def test_on_this_machine_there_is_nothing_to_say() -> None:
    assert said({}) == []


def test_an_open_listener_is_a_warning() -> None:
    names = [(name, how) for name, how, _ in said({"listen": {"host": "0.0.0.0"}})]
    assert names == [("listen.tls", "warn"), ("listen.callers", "warn")]
    assert ("listen.callers", "warn") not in said({"listen": {"host": "0.0.0.0", "callers": [{"ae_title": "PACS"}]}})


@pytest.mark.parametrize(
    ("days", "how", "text"), [(365, "ok", "valid for 364 days"), (10, "warn", "valid for 9 days"), (-2, "FAIL", "expired")]
)
def test_certificates_by_the_days_that_are_left(authority: Authority, days: float, how: str, text: str) -> None:
    files = authority.sign("node", days=(-30, days))
    tls = {**shown(files), "ca_file": authority.ca_file}
    workstations = {"enabled": True, "callers": [{"ae_title": "A", "reader": "ann"}], "tls": tls}
    pacs = {"name": "pacs", "kind": "c-store", "ae_title": "P", "host": "h", "port": 104, "tls": {"enabled": True, **shown(files)}}
    web = {"name": "web", "kind": "stow-rs", "url": "https://h", **shown(files)}
    found = said({"listen": {"tls": tls}, "ups": workstations, "web": {"tls": shown(files)}, "destinations": [pacs, web]})
    assert [name for name, *_ in found] == ["listen.tls", "ups.tls", "web.tls", "destination pacs", "destination web"]
    for _, state, detail in found:
        assert (state, text in detail) == (how, True)


def test_a_key_that_does_not_fit_is_told_before_the_node_is_started(authority: Authority) -> None:
    node, other = authority.sign("node"), authority.sign("other")
    ((name, how, detail),) = said({"web": {"tls": {"certificate_file": node.certificate, "private_key_file": other.key}}})
    assert (name, how) == ("web.tls", "FAIL")
    assert "not that of the certificate" in detail
