"""A link signs in once, for two minutes, and leaves nothing behind that signs in again."""

from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import at
from web_samples import Site, open_site

from qcnode.web.server import WebServer
from qcnode.web.sign_in_links import SignInLinks

SPENT = "This link was used already or is too old."


def test_a_token_works_once() -> None:
    links = SignInLinks()
    first, second = links.issue("meyer", at(0)), links.issue("lund", at(0))
    assert links.take(first, at(1)) == "meyer"
    assert links.take(first, at(1)) is None
    assert links.take(second, at(119)) == "lund"
    assert links.take("never issued", at(1)) is None


def test_a_token_ends_and_is_forgotten() -> None:
    links = SignInLinks(timedelta(minutes=2))
    token = links.issue("meyer", at(0))
    assert links.take(token, at(120)) is None
    assert links.take(token, at(1)) is None, "an attempt that comes too late spends it, too"
    links.issue("meyer", at(0))
    links.issue("meyer", at(500))
    assert len(links._issued) == 1


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return open_site(tmp_path)


def test_who_comes_with_a_link_is_signed_in(site: Site) -> None:
    server = WebServer(site.app, "127.0.0.1", 0)
    path = server.sign_in_path("lund")
    server.stop()
    browser, other = site.browser(), site.browser()
    answer = browser.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "lund" in browser.get("/").text
    assert browser.get(path).status_code == 303, "who is signed in already goes on"
    spent = other.get(path)
    assert (spent.status_code, other.get("/").status_code) == (401, 303)
    assert SPENT in spent.text
    entry = site.context.audit.before(None, 1)[0]
    assert (entry.actor, entry.action, entry.details["by"]) == ("lund", "sign-in", "link")
    token = path.partition("=")[2]
    content = b"".join(p.read_bytes() for p in site.database.directory.rglob("*") if p.is_file())
    assert token.encode() not in content


@pytest.mark.parametrize("case", ["disabled", "too late", "behind a proxy"])
def test_who_may_not_sign_in_may_not_by_a_link(tmp_path: Path, case: str) -> None:
    proxy = {"trusted_header": "X-User", "trusted_proxies": ["192.0.2.9"]}
    site = open_site(tmp_path, **(proxy if case == "behind a proxy" else {}))
    token = site.context.links.issue("meyer", site.clock())
    if case == "disabled":
        site.context.accounts.disable("meyer", by="root", now=site.clock())
    if case == "too late":
        site.clock.move(minutes=2)
    browser = site.browser()
    assert browser.get(f"/sign-in?link={token}").status_code in (401, 403)
    assert site.context.settings.trusted_header or browser.get("/").status_code == 303


def test_a_link_leads_nowhere_else(site: Site) -> None:
    token = site.context.links.issue("meyer", site.clock())
    assert site.browser().get(f"/sign-in?link={token}&next=//elsewhere.example/").headers["location"] == "/"
