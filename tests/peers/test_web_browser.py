"""The worklist in Debian's Chromium, as a reader uses it: sign in, filter, open, decide by keyboard, undo, and two readers at once."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from browsing import PATIENCE_MS, SCREENSHOTS, SIZES
from drifting_site import decide_some, fill
from playwright.sync_api import Page, expect
from web_samples import PASSWORD, Clock, Site, open_site

from qcnode.case import Verdict
from qcnode.regions import Mark
from qcnode.store.items import Decision, Judgement
from qcnode.web.server import WebServer

pytestmark = pytest.mark.peers


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
    expect(page.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)  # keys are listened to by now
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


def finalise(site: Site) -> None:
    """What is held becomes final, as if its time were over."""
    site.review.finalise_due(datetime.now(UTC) + timedelta(minutes=6))


def test_a_supervisor_reopens_a_decided_case(site: Site, sign_in: Callable[..., Page], address: str) -> None:
    now = datetime.now(UTC)
    site.review.claim(1, "meyer", now)
    site.review.decide(1, "meyer", Judgement(Decision.REJECT, comment="base"), now)
    finalise(site)
    reader = sign_in("okafor")
    reader.goto(f"{address}/cases/1")
    expect(reader.locator("#claim")).to_contain_text("Rejected by meyer")
    expect(reader.locator("#reopen-button")).to_have_count(0)
    chief = sign_in("lund")
    chief.goto(f"{address}/cases/1")
    expect(chief.locator("#reopen-form")).to_be_hidden()
    chief.keyboard.press("o")
    chief.keyboard.type("apex is missing, too")
    chief.keyboard.press("Enter")
    expect(chief.locator(".stage")).to_contain_text("apex is missing, too", timeout=PATIENCE_MS)
    expect(chief.locator(".readings")).to_contain_text("Rejected by meyer")
    expect(reader.locator("#claim")).to_contain_text("lund is reading this case", timeout=PATIENCE_MS)
    chief.screenshot(path=SCREENSHOTS / "worklist-revision.png")
    chief.keyboard.press("c")
    expect(chief.locator("#told")).to_contain_text("needs correction", timeout=PATIENCE_MS)
    finalise(site)
    expect(reader.locator("#claim")).to_contain_text("Needs correction by lund", timeout=PATIENCE_MS)
    assert [reading.decision for reading in site.review.readings(1, datetime.now(UTC))] == [Decision.REJECT, Decision.NEEDS_CORRECTION]


def test_two_readers_differ_and_a_third_settles_it(site: Site, sign_in: Callable[..., Page], address: str) -> None:
    number = site.put("9", predicted_dsc=0.05, read_twice=True, patient_name="TWO^READERS").item_id
    case = f"{address}/cases/{number}"
    first, second = sign_in("meyer"), sign_in("okafor")
    first.goto(case)
    expect(first.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    first.fill('textarea[name="comment"]', "leaks at the base")
    first.locator("button.reject").click()
    expect(first.locator("#told")).to_contain_text("rejected", timeout=PATIENCE_MS)
    second.goto(case)
    expect(second.locator("#claim")).to_contain_text("which the other reader must not know", timeout=PATIENCE_MS)
    finalise(site)
    expect(second.locator(".stage")).to_contain_text("Second reading", timeout=PATIENCE_MS)
    assert "leaks" not in second.content()
    second.goto(f"{address}/?stage=SECOND")
    assert numbers(second) == [str(number)]
    second.keyboard.press("j")
    second.keyboard.press("Enter")
    expect(second.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    second.screenshot(path=SCREENSHOTS / "worklist-second-reading.png")
    second.keyboard.press("a")
    expect(second.locator("#told")).to_contain_text("accepted", timeout=PATIENCE_MS)
    finalise(site)
    first.goto(case)
    expect(first.locator("#claim")).to_contain_text("It waits for another reader", timeout=PATIENCE_MS)
    expect(first.locator("button.accept")).to_be_disabled()
    chief = sign_in("lund")
    chief.goto(f"{address}/?stage=ADJUDICATION")
    expect(chief.locator(f'tr[data-item="{number}"]')).to_contain_text("Readers differ")
    chief.goto(case)
    expect(chief.locator(".readings")).to_contain_text("leaks at the base", timeout=PATIENCE_MS)
    expect(chief.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    chief.screenshot(path=SCREENSHOTS / "worklist-adjudication.png")
    chief.keyboard.press("r")
    expect(chief.locator("#told")).to_contain_text("rejected", timeout=PATIENCE_MS)
    finalise(site)
    settled = site.review.show(number, datetime.now(UTC))
    assert (settled.state, settled.decision, settled.reader) == ("DECIDED", Decision.REJECT, "lund")


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_error_regions_are_marked_by_mouse_and_by_keyboard(
    site: Site, sign_in: Callable[..., Page], address: str, width: int, height: int
) -> None:
    page = sign_in("meyer", width, height)
    page.goto(f"{address}/cases/1")
    expect(page.locator("#claim")).to_have_attribute("data-mine", "yes", timeout=PATIENCE_MS)
    strip = page.get_by_role("slider", name="Slice", exact=True)
    expect(strip).to_have_attribute("aria-valuenow", "3", timeout=PATIENCE_MS)
    page.keyboard.press("g")
    page.keyboard.press("g")
    expect(strip).to_have_attribute("aria-valuenow", "2", timeout=PATIENCE_MS)
    expect(page.locator("#regions li.chosen")).to_have_attribute("data-region", "2")
    page.keyboard.press("n")
    page.locator('#regions li[data-region="1"] button').click()
    expect(strip).to_have_attribute("aria-valuenow", "3", timeout=PATIENCE_MS)
    page.locator('#regions li[data-region="1"] label').filter(has_text="unsure").click()
    page.keyboard.press("y")
    page.keyboard.press("y")  # a second time takes the mark away
    page.locator('#regions li[data-region="1"] label').filter(has_text=re.compile("^real$")).click()
    page.evaluate("document.getElementById('panel').firstElementChild.dataset.old = 'yes'")
    site.review.reassign(1, "lund", "meyer", datetime.now(UTC))  # the page hears of it and draws the panel anew
    expect(page.locator("#panel [data-old]")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#regions")).to_have_attribute("open", "")
    page.screenshot(path=SCREENSHOTS / f"worklist-regions-{width}.png")
    assert page.evaluate(CUT_OFF) == []
    page.keyboard.press("r")
    expect(page.locator("#told")).to_contain_text("rejected", timeout=PATIENCE_MS)
    assert site.review.show(1, datetime.now(UTC)).marks == {1: Mark.REAL, 2: Mark.NOT_REAL}


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
    .filter((e) => e.checkVisibility() && e.clientWidth > 0 && getComputedStyle(e).display !== "inline")
    .filter((e) => e.scrollWidth > e.clientWidth + 1 && !e.classList.contains("only-for-ears"))
    .map((e) => e.textContent.trim())"""
