"""Signing in, sessions, roles and tokens: what other sites get is nothing."""

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from web_samples import PASSWORD, Site, open_site

from qcnode.web.auth import token_for


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = open_site(tmp_path)
    made.put("1")
    return made


def test_signing_in_opens_a_session_in_a_cookie_that_no_script_reads(site: Site) -> None:
    browser = site.browser()
    assert browser.sign_in("meyer") == 303
    assert browser.get("/").status_code == 200
    stored = site.context.accounts.list()
    assert {a.name for a in stored} >= {"meyer"}
    fresh = site.browser()
    token = token_for("visit", "sign-in")
    fresh.cookies.set("qcnode-visit", "visit")
    answer = fresh.post("/sign-in", data={"name": "meyer", "password": PASSWORD, "csrf": token, "next": "/overview"})
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("qcnode="))
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert answer.headers["location"] == "/overview"


def test_secure_cookies_are_bound_to_the_host(tmp_path: Path) -> None:
    browser = open_site(tmp_path, secure_cookies=True).browser()
    cookie = browser.get("/sign-in").headers["set-cookie"]
    assert cookie.startswith("__Host-")
    assert "Secure" in cookie


@pytest.mark.parametrize(("name", "password"), [("meyer", "wrong-password"), ("nobody", PASSWORD), ("", ""), ("meyer\x00", PASSWORD)])
def test_wrong_names_and_passwords_are_refused_alike(site: Site, name: str, password: str) -> None:
    assert site.browser().sign_in(name, password) == 401


def test_a_disabled_account_does_not_sign_in_and_its_session_ends(site: Site) -> None:
    browser = site.browser("meyer")
    site.context.accounts.disable("meyer", by="test", now=site.clock())
    assert browser.get("/").status_code == 303
    assert site.browser().sign_in("meyer") == 401


def test_failures_make_the_account_wait_twice_as_long_each_time(site: Site) -> None:
    statuses = [site.browser().sign_in("meyer", "wrong-password") for _ in range(6)]
    assert statuses == [401, 401, 401, 401, 401, 429]
    assert site.browser().sign_in("meyer") == 429
    site.clock.move(seconds=3)
    assert site.browser().sign_in("meyer") == 303


def test_one_address_can_not_try_many_names(site: Site) -> None:
    for i in range(5):
        site.browser().sign_in(f"nobody{i}", "wrong-password")
    assert site.browser().sign_in("meyer") == 429


def test_sessions_end_after_idle_time_and_in_any_case(site: Site) -> None:
    browser = site.browser("meyer")
    for _ in range(3):
        site.clock.move(minutes=29)
        assert browser.get("/overview").status_code == 200
    site.clock.move(minutes=31)
    assert browser.get("/overview").status_code == 303
    again = site.browser("meyer")
    for _ in range(26):
        site.clock.move(minutes=28)
        again.get("/overview")
    assert again.get("/overview").status_code == 303


def test_what_a_page_asks_for_by_itself_does_not_prolong_the_session(site: Site) -> None:
    browser = site.browser("meyer")
    for _ in range(4):
        site.clock.move(minutes=10)
        last = browser.get("/queue/rows?item_id=1")
    assert last.status_code in (303, 401)


def test_forms_without_the_token_of_the_session_change_nothing(site: Site) -> None:
    browser, other = site.browser("meyer"), site.browser("okafor")
    for csrf in ("", "0" * 64, other.csrf, "ä"):
        browser.csrf, kept = csrf, browser.csrf
        assert browser.submit("/cases/1/claim") == 403
        assert browser.call("/items/1/claim")[0] == (403) if csrf.isascii() else True
        browser.csrf = kept
    assert site.review.show(1, site.clock()).state == "OPEN"
    assert browser.submit("/cases/1/claim") == 303


def test_a_form_of_another_site_is_refused_with_its_token(site: Site) -> None:
    browser = site.browser("meyer")
    sent = {"data": {"csrf": browser.csrf}}
    assert browser.post("/cases/1/claim", headers={"Sec-Fetch-Site": "cross-site"}, **sent).status_code == 403
    assert browser.post("/cases/1/claim", headers={"Sec-Fetch-Site": "same-origin"}, **sent).status_code == 303


def test_signing_in_needs_the_page_that_this_browser_was_given(site: Site) -> None:
    browser = site.browser()
    assert browser.post("/sign-in", data={"name": "meyer", "password": PASSWORD, "csrf": "0" * 64}).status_code == 403


def test_signing_out_ends_the_session_everywhere(site: Site) -> None:
    browser = site.browser("meyer")
    token = browser.cookies["qcnode"]
    assert browser.submit("/sign-out") == 303
    copied = site.browser()
    copied.cookies.set("qcnode", token)
    assert copied.get("/").status_code == 303


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/\nevil"])
def test_nobody_is_sent_elsewhere_after_signing_in(site: Site, target: str) -> None:
    browser = site.browser("meyer")
    assert browser.get("/sign-in", params={"next": target}).headers["location"] == "/"


@pytest.mark.parametrize(("name", "allowed"), [("meyer", set()), ("lund", {"/audit"}), ("root", {"/audit", "/accounts"})])
def test_roles(site: Site, name: str, allowed: set[str]) -> None:
    browser = site.browser(name)
    assert {a for a in ("/audit", "/accounts") if browser.get(a).status_code == 200} == allowed
    assert browser.get("/overview").status_code == 200


def test_every_answer_carries_the_strict_headers(site: Site) -> None:
    browser = site.browser("meyer")
    for address in ("/", "/cases/1", "/api/v1/items", "/nothing", "/health", "/cases/1/viewer/viewer.json"):
        headers = browser.get(address).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_an_unexpected_error_says_nothing_about_its_cause(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("DOE^JANE")

    browser = site.browser("meyer")
    monkeypatch.setattr(type(site.review), "overview", fail)
    browser_that_goes_on = TestClient(site.app, raise_server_exceptions=False, cookies=browser.cookies, client=("192.0.2.1", 1))
    for address in ("/overview", "/api/v1/overview"):
        answer = browser_that_goes_on.get(address, headers={"Accept": "text/html"})
        assert answer.status_code == 500
        assert "DOE" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'self'")


def test_pages_hold_no_inline_script_and_no_inline_style(site: Site) -> None:
    browser = site.browser("root")
    for address in ("/", "/cases/1", "/overview", "/audit", "/accounts", "/account"):
        text = browser.get(address).text
        assert " style=" not in text
        assert "<style" not in text
        assert "onclick" not in text
        assert text.count("<script") == text.count('<script type="module" src="/static/')


def test_large_bodies_are_refused_unread(site: Site) -> None:
    assert site.browser("meyer").post("/sign-in", data={"name": "x" * 70_000}).status_code == 413


@pytest.fixture
def behind_proxy(tmp_path: Path) -> Site:
    made = open_site(tmp_path, trusted_header="X-Remote-User", trusted_proxies=["192.0.2.1"])
    made.put("1")
    return made


def test_a_trusted_proxy_names_the_reader(behind_proxy: Site) -> None:
    browser = behind_proxy.browser()
    browser.headers["X-Remote-User"] = "meyer"
    page = browser.get("/")
    assert page.status_code == 200
    browser.csrf = page.text.split('name="csrf" content="')[1].split('"')[0]
    assert browser.submit("/cases/1/claim") == 303
    assert behind_proxy.review.show(1, behind_proxy.clock()).reader == "meyer"
    assert browser.submit("/sign-out") == 403
    browser.headers["X-Remote-User"] = "nobody"
    assert browser.get("/").status_code == 303
    assert browser.get("/sign-in").status_code == 403


def test_the_header_of_anybody_else_says_nothing(behind_proxy: Site) -> None:
    stranger = TestClient(behind_proxy.app, client=("198.51.100.7", 1), follow_redirects=False, headers={"X-Remote-User": "root"})
    assert stranger.get("/api/v1/session").status_code == 401


def test_sign_ins_are_audited_without_the_name_that_failed(site: Site) -> None:
    site.browser().sign_in("my-password-in-the-wrong-field", "x")
    site.browser("meyer")
    entries = [(e.action, e.actor, e.subject) for e in site.context.audit.entries() if e.action.startswith("sign-in")]
    assert entries == [("sign-in-failed", "qcnode", "account"), ("sign-in", "meyer", "account/meyer")]


def test_changing_the_own_password_ends_all_other_sessions(site: Site) -> None:
    here, there = site.browser("meyer"), site.browser("meyer")
    assert here.submit("/account", old="wrong", new="another-password") == 422
    assert here.submit("/account", old=PASSWORD, new="short") == 422
    assert here.submit("/account", old=PASSWORD, new="another-password") == 303
    assert here.get("/").status_code == 200
    assert there.get("/").status_code == 303
    assert site.browser().sign_in("meyer", "another-password") == 303


def test_an_administrator_keeps_the_accounts(site: Site) -> None:
    admin = site.browser("root")
    assert admin.submit("/accounts", name="new reader", password="long-enough-1", role="reader") == 303
    assert admin.submit("/accounts", name="new reader", password="long-enough-1", role="reader") == 422
    assert admin.submit("/accounts", name="another", password="short", role="reader") == 422
    assert site.browser().sign_in("new reader", "long-enough-1") == 303
    assert admin.submit("/accounts/password", name="new reader", password="long-enough-2") == 303
    assert site.browser().sign_in("new reader", "long-enough-2") == 303
    assert admin.submit("/accounts/disable", name="root") == 403
    assert admin.submit("/accounts/disable", name="nobody") == 404
    assert admin.submit("/accounts/disable", name="new reader") == 303
    site.clock.move(minutes=1)
    assert site.browser().sign_in("new reader", "long-enough-2") == 401
    assert site.browser("lund").submit("/accounts", name="x", password="long-enough-1", role="admin") == 403


def test_tokens_do_not_tell_the_secret() -> None:
    assert token_for("a", "csrf") != token_for("b", "csrf")
    assert "secret" not in token_for("secret", "csrf")


def test_wait_is_forgotten_after_a_while(site: Site) -> None:
    for _ in range(6):
        site.browser().sign_in("meyer", "wrong-password")
    site.clock.move(hours=1)
    assert site.context.throttle.wait("account meyer", site.clock()) == timedelta(0)
    assert site.browser().sign_in("meyer", "wrong-password") == 401
    assert site.browser().sign_in("meyer") == 303
