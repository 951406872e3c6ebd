"""The worklist in Debian's Chromium, as a reader uses it: sign in, filter, open, decide by keyboard, undo, and two readers at once."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from drifting_site import decide_some, fill
from playwright.sync_api import Browser, Page, expect, sync_playwright
from viewer import CHROMIUM_FLAGS
from web_samples import PASSWORD, Clock, Site, open_site

from qcnode.case import Verdict
from qcnode.web.server import WebServer

pytestmark = pytest.mark.peers

CHROMIUM = "/usr/bin/chromium"
SIZES = ((1440, 900), (1024, 768))
PATIENCE_MS = 20_000
SCREENSHOTS = Path(__file__).parents[2] / "var/screenshots"


class Now(Clock):
    """The real time: the pages count down by the browser's clock."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = open_site(tmp_path / "node", Now())
    for number, (dsc, name) in enumerate(((0.21, "DOE^JANE"), (0.45, "ROE^RICHARD"), (0.6, "POE^EDGAR")), 1):
        who = {"patient_name": name, "patient_id": f"P-{number}", "birth_date": "19700102"}
        made.put(str(number), predicted_dsc=dsc, scanner=f"Maker {number % 2}", **who)
    made.put("4", Verdict.REVIEW, 0.8, patient_name="MOE^MAY", scanner="Maker 1")
    return made


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    server = WebServer(site.app, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture(scope="module")
def chromium(require_peers: Callable[..., None]) -> Iterator[Browser]:
    require_peers(CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def sign_in(chromium: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """`sign_in("meyer")`: a page of a browser of its own, whose complaints fail the test."""
    complaints: list[str] = []
    contexts = []

    def open_page(name: str, width: int = 1440, height: int = 900) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(f"{address}/")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("#items")).to_be_visible(timeout=PATIENCE_MS)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def numbers(page: Page) -> list[str]:
    return [str(row.get_attribute("data-item")) for row in page.locator("tbody tr:visible").all()]


def test_a_reader_filters_opens_decides_by_keyboard_and_undoes(site: Site, sign_in: Callable[..., Page]) -> None:
    page = sign_in("meyer")
    assert numbers(page) == ["1", "2", "3", "4"]
    page.select_option('select[name="verdict"]', "FAIL")
    page.wait_for_url("**/?verdict=FAIL**")
    assert numbers(page) == ["1", "2", "3"]
    page.keyboard.press("/")
    page.keyboard.type("roe")
    assert numbers(page) == ["2"]
    page.fill("#search-text", "")
    page.locator("#search-text").blur()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".person")).to_have_text("DOE, JANE", timeout=PATIENCE_MS)
    expect(page.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    page.check('input[value="tissue missed"]')
    page.keyboard.press("2")
    page.keyboard.press("r")
    expect(page.locator(".person")).to_have_text("ROE, RICHARD", timeout=PATIENCE_MS)
    expect(page.locator("#told")).to_contain_text("rejected")
    expect(page.locator("#told time")).to_have_text(re.compile(r"in [45]:\d\d"))
    item = site.review.show(1, datetime.now(UTC))
    assert (item.state, item.decision_reasons, item.rating, item.reader) == ("HELD", ("tissue missed",), 2, "meyer")
    page.keyboard.press("u")
    expect(page.locator(".person")).to_have_text("DOE, JANE", timeout=PATIENCE_MS)
    assert site.review.show(1, datetime.now(UTC)).decision is None
    assert "verdict=FAIL" in page.url
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_going_on_without_a_decision_gives_the_case_back(site: Site, sign_in: Callable[..., Page]) -> None:
    page = sign_in("meyer")
    page.locator('tr[data-item="1"] a').click()
    expect(page.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    page.keyboard.press("j")
    expect(page.locator(".person")).to_have_text("ROE, RICHARD", timeout=PATIENCE_MS)
    assert site.review.show(1, datetime.now(UTC)).state == "OPEN"
    page.keyboard.press("k")
    expect(page.locator(".person")).to_have_text("DOE, JANE", timeout=PATIENCE_MS)


def test_two_readers_of_one_case(site: Site, sign_in: Callable[..., Page]) -> None:
    first, second = sign_in("meyer"), sign_in("okafor")
    first.locator('tr[data-item="1"] a').click()
    expect(first.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    expect(second.locator('tr[data-item="1"]')).to_contain_text("meyer", timeout=PATIENCE_MS)
    second.locator('tr[data-item="1"] a').click()
    expect(second.locator("#claim")).to_contain_text("meyer is reading this case", timeout=PATIENCE_MS)
    second.keyboard.press("a")
    expect(second.locator("button.accept")).to_be_disabled()
    first.fill('textarea[name="comment"]', "apex is missing")
    first.locator("button.correct").click()
    expect(second.locator("#claim")).to_contain_text("Needs correction by meyer", timeout=PATIENCE_MS)
    assert site.review.show(1, datetime.now(UTC)).comment == "apex is missing"


def test_new_cases_are_told_quietly(site: Site, sign_in: Callable[..., Page]) -> None:
    page = sign_in("meyer")
    page.wait_for_timeout(1500)
    site.put("5")
    site.put("6")
    expect(page.locator("#new-bar")).to_contain_text("2 new", timeout=PATIENCE_MS)
    page.locator("#new-bar a").click()
    expect(page.locator("#items tbody tr")).to_have_count(6)


def test_a_session_that_is_over_leads_to_the_sign_in_page_and_back(site: Site, sign_in: Callable[..., Page]) -> None:
    page = sign_in("meyer")
    page.context.clear_cookies()
    page.locator('tr[data-item="1"] a').click()
    page.wait_for_url("**/sign-in?next=/cases/1")
    page.fill("#name", "meyer")
    page.fill("#password", PASSWORD)
    page.keyboard.press("Enter")
    expect(page.locator(".person")).to_have_text("DOE, JANE", timeout=PATIENCE_MS)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_nothing_is_cut_off_or_covered(sign_in: Callable[..., Page], address: str, width: int, height: int) -> None:
    page = sign_in("root", width, height)
    for name, path in (("queue", "/"), ("case", "/cases/1"), ("overview", "/overview"), ("audit", "/audit"), ("accounts", "/accounts")):
        page.goto(address + path)
        page.wait_for_timeout(500)
        page.screenshot(path=SCREENSHOTS / f"worklist-{name}-{width}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
        assert page.evaluate(CUT_OFF) == [], f"{name}: text does not fit"


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_drift_is_seen_at_a_glance(site: Site, sign_in: Callable[..., Page], address: str, width: int, height: int) -> None:
    fill(site)
    decide_some(site)
    page = sign_in("meyer", width, height)
    page.goto(f"{address}/overview")
    expect(page.locator(".findings li").first).to_be_visible(timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#drift .legend").scroll_into_view_if_needed()
    page.screenshot(path=SCREENSHOTS / f"worklist-drift-{width}.png")
    expect(page.locator("#drift figure.drifted")).to_have_count(1)
    boxes = [figure.bounding_box() for figure in page.locator("#drift figure").all()]
    assert len(boxes) == 9, "five scanners, two segmenters, and the two makers of the queue"
    assert all(box and box["x"] + box["width"] <= width for box in boxes)
    assert page.evaluate(CUT_OFF) == []


CUT_OFF = """[...document.querySelectorAll("button, .button, th, .verdict, .figure, h1, h2, .top a, label")]
    .filter((e) => e.offsetParent && e.clientWidth > 0 && getComputedStyle(e).display !== "inline")
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && !e.classList.contains("only-for-ears"))
    .map((e) => e.textContent.trim())"""
