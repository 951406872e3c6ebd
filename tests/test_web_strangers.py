"""Who is not signed in gets the sign-in page, its style sheet and /health, and nothing else: every route there is, by every method."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from starlette.routing import BaseRoute, Route
from web_samples import Browser, Site, open_site

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND")
ACCEPTED = ("text/html", "*/*")
OPEN = {
    ("GET", "/health"): {200},
    ("GET", "/sign-in"): {200},
    ("POST", "/sign-in"): {403},  # without the cookie and the token of the page
    ("POST", "/api/v1/session"): {401, 422, 429},
    ("GET", "/static/app.css"): {200},
    ("GET", "/static/icon.svg"): {200},
    ("GET", "/static/0123/app.css"): {200},
    ("GET", "/static/0123/icon.svg"): {200},
}
VALUES = {"item_id": ["1", "99"], "version": ["0123"], "name": ["app.css", "icon.svg", "app.js", "viewer.json"]}
"""What is put in for a parameter of an address."""
SECRETS = ("DOE", "JANE", "P-7", "19700102", "A-77", "cardiac", "Meyer")
"""Of the patients and of the worklist."""
FALSE_CREDENTIALS = {
    "Cookie": "qcnode=made-up",
    "X-CSRF-Token": "made-up",
    "X-Remote-User": "root",
    "X-Forwarded-For": "127.0.0.1",
    "Authorization": "Basic cm9vdDpyb290",
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = open_site(tmp_path)
    made.put("1", patient_name="DOE^JANE", patient_id="P-7", birth_date="19700102", accession_number="A-77", scanner="Meyer")
    return made


def paths(routes: Sequence[BaseRoute]) -> Iterator[str]:
    """The address pattern of every route, those of included routers and mounted applications too. An unknown kind of route is an error."""
    for route in routes:
        inner = getattr(route, "original_router", None) or route
        if hasattr(inner, "routes"):
            assert not getattr(route, "path", ""), "a mounted application: say here what is put before the addresses in it"
            yield from paths(inner.routes)
        else:
            assert isinstance(route, Route), f"{route} is of a kind that this test does not know"
            yield route.path


def addresses(path: str) -> list[str]:
    found = [path]
    while parameter := re.search(r"\{(\w+)(?::\w+)?\}", found[0]):
        assert parameter[1] in VALUES, f"{path}: say here what is put in for {parameter[1]}"
        found = [address.replace(parameter[0], value) for address in found for value in VALUES[parameter[1]]]
    return found


def told(method: str, address: str, answer: httpx.Response) -> str:
    """What a stranger has learned from an answer; "" where it is nothing."""
    where, said = f"{method} {address}: {answer.status_code}", answer.text + str(answer.headers)
    if any(secret in said for secret in SECRETS):
        return f"{where}, and it holds something of the worklist"
    if answer.status_code in OPEN.get((method, address), set()):
        return ""
    if answer.status_code == 303:
        return "" if answer.headers["location"].split("?")[0] == "/sign-in" else f"{where}, to {answer.headers['location']}"
    return "" if answer.status_code == 401 and "sign-in-needed" in said + " sign-in-needed" * (method == "HEAD") else where


def served(site: Site) -> list[str]:
    """Every address, and two that there are not."""
    found = {address for path in paths(site.app.router.routes) for address in addresses(path)}
    assert len(found) > 30
    return sorted(found | {"/nothing", "/api/v1/nothing"})


def learned(site: Site, where: list[str], methods: Sequence[str] = METHODS, credentials: dict[str, str] | None = None) -> list[str]:
    """What a stranger who has nothing but `credentials` learns."""
    stranger, found = Browser(site.app), set()
    for address in where:
        for method in methods:
            for accepted in ACCEPTED:
                answer = stranger.request(method, address, headers={"Accept": accepted} | (credentials or {}))
                stranger.cookies.clear()
                found.add(told(method, address, answer))
    return sorted(found - {""})


def test_strangers_learn_nothing(site: Site) -> None:
    assert learned(site, served(site)) == []


def test_false_credentials_open_nothing(site: Site) -> None:
    assert learned(site, served(site), ("GET", "POST"), FALSE_CREDENTIALS) == []


def test_a_route_without_protection_is_found(site: Site) -> None:
    known = served(site)
    site.app.add_api_route("/forgotten/{item_id}", lambda: {"waiting": 1}, methods=["PATCH"])
    new = [address for address in served(site) if address not in known]
    assert learned(site, new) == ["PATCH /forgotten/1: 200", "PATCH /forgotten/99: 200"]
