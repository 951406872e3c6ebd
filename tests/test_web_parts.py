"""The small pieces of the web: waiting after failures, passwords, words, plots, thumbnails."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from store_samples import at
from web_samples import QUICK, open_site

from qcnode.case import Verdict
from qcnode.store.items import Decision
from qcnode.store.overview import Day
from qcnode.web import charts, wording
from qcnode.web.openings import Openings
from qcnode.web.passwords import Passwords
from qcnode.web.queue_view import QueueView
from qcnode.web.templating import viewer_link
from qcnode.web.throttle import Throttle
from qcnode.web.thumbnails import PIXELS, thumbnail_of


def test_waits_double_up_to_the_longest() -> None:
    throttle = Throttle(free=1, first=timedelta(seconds=2), longest=timedelta(seconds=10))
    waits = []
    for _ in range(6):
        throttle.attempted("a", at(0))
        waits.append(throttle.wait("a", at(0)).total_seconds())
    assert waits == [0, 2, 4, 8, 10, 10]
    assert throttle.wait("a", at(4)).total_seconds() == 6
    assert throttle.wait("b", at(0)) == timedelta(0)


def test_success_forgets_and_withdrawing_takes_one_back() -> None:
    throttle = Throttle(free=0)
    throttle.attempted("a", at(0))
    throttle.attempted("a", at(0))
    throttle.withdraw("a")
    assert throttle.wait("a", at(0)).total_seconds() == 2
    throttle.succeeded("a")
    assert throttle.wait("a", at(0)) == timedelta(0)


def test_invented_names_do_not_fill_the_memory() -> None:
    throttle = Throttle(free=0, keys=3)
    for name in "abcd":
        throttle.attempted(name, at(0))
    assert [bool(throttle.wait(name, at(0))) for name in "abcd"] == [False, True, True, True]


def test_passwords() -> None:
    kept = QUICK.hash("long enough")
    assert kept.startswith("$argon2id$")
    assert "long enough" not in kept
    assert QUICK.verify(kept, "long enough")
    assert not QUICK.verify(kept, "long enough.")
    assert not QUICK.verify(None, "nobody")
    assert not QUICK.verify("no hash", "long enough")
    with pytest.raises(ValueError, match="10 characters"):
        QUICK.hash("too short")


def test_the_default_costs_what_argon2_recommends() -> None:
    assert "m=65536,t=3,p=4" in Passwords().hash("long enough")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("DOE^JANE", "DOE, JANE"),
        ("DOE^JANE^MARY^DR^MD", "DOE, JANE MARY (DR, MD)"),
        ("=山田^太郎", "山田, 太郎"),
        ("DOE", "DOE"),
        ("", "(no name)"),
        ("^^^^", "(no name)"),
    ],
)
def test_person_names(value: str, expected: str) -> None:
    assert wording.person_name(value) == expected


def test_dates_numbers_and_times() -> None:
    assert [wording.dicom_date(d) for d in ("20260504", "", "May")] == ["2026-05-04", "–", "May"]
    assert [wording.number(n) for n in (0.456, None)] == ["0.46", "–"]
    assert wording.interval(0.1, None) == ""
    spans = [timedelta(seconds=5), timedelta(minutes=59), timedelta(hours=47), timedelta(hours=49)]
    assert [wording.span(s) for s in spans] == ["just now", "59 min", "47 h", "2 days"]
    assert wording.moment(datetime(2026, 5, 4, tzinfo=UTC)) == "2026-05-04T00:00:00+00:00"


def test_every_verdict_decision_and_state_has_words() -> None:
    assert set(wording.VERDICTS) == set(Verdict)
    assert set(wording.DECISIONS) == set(Decision)


def test_bars_are_as_high_as_what_they_count() -> None:
    days = [Day(date(2026, 5, 4), {Verdict.FAIL: 3, Verdict.PASS: 4}, {}), Day(date(2026, 5, 5), {}, {})]
    plot = charts.per_day(days, (Verdict.FAIL, Verdict.PASS))
    fail, passed = plot.columns[0].bars
    assert [n for _, n in plot.ticks] == [0, 2, 4, 6, 8]
    assert fail.height == pytest.approx(charts.BARS_HEIGHT * 3 / 8)
    assert fail.y + fail.height == pytest.approx(charts.BARS_HEIGHT)
    assert passed.y + passed.height == pytest.approx(fail.y)
    assert plot.columns[1].bars == ()


@pytest.mark.parametrize(("largest", "step"), [(0, 1), (5, 1), (6, 2), (11, 5), (26, 10), (499, 100)])
def test_scales_have_few_round_lines(largest: int, step: int) -> None:
    assert charts.tick_step(largest) == step


def test_dots_stand_at_what_was_predicted() -> None:
    rows = charts.strip([(0.5, Decision.REJECT, 7), (1.0, Decision.REJECT, 8)])
    assert [(d.x, d.item_id) for d in rows[Decision.REJECT]] == [(300, 7), (600, 8)]
    assert all(0 < d.y < charts.STRIP_ROW for d in rows[Decision.REJECT])
    assert rows[Decision.ACCEPT] == ()


def test_a_view_is_its_url() -> None:
    view = QueueView(state="all", verdict=Verdict.FAIL, scanner="A & B", page=3)
    assert view.address() == "/?state=all&verdict=FAIL&scanner=A+%26+B&page=3"
    assert view.but(verdict=None).address("/cases/1", told=2) == "/cases/1?state=all&scanner=A+%26+B&told=2"
    assert QueueView().address() == "/"


def test_the_viewer_is_given_the_study_and_nothing_else() -> None:
    assert viewer_link("https://v/?s={study_instance_uid}", "1.2&x") == "https://v/?s=1.2%26x"
    assert viewer_link(None, "1.2") is None


def test_an_opening_lasts_a_while() -> None:
    openings = Openings(timedelta(minutes=5), most=2)
    openings.open("a", 1, at(0))
    assert openings.is_open("a", 1, at(300))
    assert not openings.is_open("a", 1, at(301))
    assert not openings.is_open("b", 1, at(0))
    for item_id in (2, 3):
        openings.open("a", item_id, at(0))
    assert not openings.is_open("a", 1, at(0))


def test_a_thumbnail_shows_errors_outline_and_nothing_of_hidden_ones(tmp_path: Path) -> None:
    site = open_site(tmp_path)
    drawn = {}
    for case_id, blind in (("1", False), ("2", True)):
        item = site.put(case_id, Verdict.PASS if blind else Verdict.FAIL, 0.9, blind=blind)
        path = thumbnail_of(item, site.context.thumbnails)
        assert path is not None
        drawn[case_id] = np.asarray(Image.open(path)).astype(int)
    scale = PIXELS / 8  # the focus is 8 mm wide, voxels are 1 mm; its left edge is that of voxel 1, its upper edge that of voxel 0
    middle = (int(3.0 * scale), int(4.0 * scale))  # inside of the predicted error of slice 2, away from the outline
    assert drawn["1"].shape == (PIXELS, PIXELS, 3)
    orange = drawn["1"][middle]
    assert orange[0] > orange[2] + 60
    assert np.ptp(drawn["2"][middle]) == 0
    blue = np.array([0x56, 0xB4, 0xE9])
    for picture in drawn.values():
        assert (picture[int(2 * scale), int(4 * scale)] == blue).all()


def test_other_names_of_the_host_are_turned_away(tmp_path: Path) -> None:
    browser = open_site(tmp_path, allowed_hosts=["qcnode.example.org"]).browser()
    assert browser.get("/sign-in", headers={"Host": "evil.example"}).status_code == 400
    assert browser.get("/sign-in", headers={"Host": "qcnode.example.org:8090"}).status_code == 200


def test_only_https_is_told_where_it_is_so(tmp_path: Path) -> None:
    plain, encrypted = open_site(tmp_path / "a"), open_site(tmp_path / "b", secure_cookies=True)
    assert "strict-transport-security" not in plain.browser().get("/sign-in").headers
    assert encrypted.browser().get("/sign-in").headers["strict-transport-security"] == "max-age=31536000"
