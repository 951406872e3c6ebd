"""The API does what the pages do, and says problems as problem+json."""

import json
from html import escape
from pathlib import Path
from threading import Barrier, Thread

import pytest
from drifting_site import fill
from web_samples import PASSWORD, Browser, Site, open_site

from qcnode.case import Verdict


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = open_site(tmp_path)
    made.put("1", predicted_dsc=0.2, patient_name="DOE^JANE")
    made.put("2", Verdict.REVIEW, 0.8)
    return made


@pytest.fixture
def reader(site: Site) -> Browser:
    return site.browser("meyer")


def test_a_program_signs_in_and_out(site: Site) -> None:
    program = site.browser()
    status, session = program.call("/session", {"name": "meyer", "password": PASSWORD})
    assert status == 201
    assert (session["account"], session["role"]) == ("meyer", "reader")
    program.csrf = str(session["csrf_token"])
    assert program.call("/items/1/claim")[0] == 200
    assert program.call("/session", method="DELETE") == (204, {})
    assert program.call("/items", method="GET")[0] == 401


def test_a_wrong_password_is_a_problem(site: Site) -> None:
    program = site.browser()
    status, said = program.call("/session", {"name": "meyer", "password": "wrong"})
    assert status == 401
    assert said["detail"] == "Name or password is wrong."
    for _ in range(4):
        program.call("/session", {"name": "meyer", "password": "wrong"})
    assert program.call("/session", {"name": "meyer", "password": PASSWORD})[0] == 429


def test_items(reader: Browser) -> None:
    status, found = reader.call("/items", method="GET")
    assert status == 200
    assert [i["item_id"] for i in found["items"]] == [1, 2]
    assert found["total"] == 2
    one = found["items"][0]
    assert one["patient_name"] == "DOE^JANE"
    assert one["reasons"] == [{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]
    assert one["has_pictures"]
    assert not [name for name in one if name.endswith("_path")]
    assert [i["item_id"] for i in reader.get("/api/v1/items?verdict=REVIEW&states=OPEN&limit=1&order=newest").json()["items"]] == [2]


def test_patients_are_searched_in_the_body(reader: Browser) -> None:
    status, found = reader.call("/items/search", {"text": "jane", "states": []})
    assert (status, found["total"]) == (200, 1)
    assert reader.get("/api/v1/items?text=jane").status_code == 422


def test_the_road_of_an_item(site: Site, reader: Browser) -> None:
    assert reader.call("/items/1/claim")[1]["state"] == "CLAIMED"
    site.clock.move(minutes=10)
    assert reader.call("/items/1/renew")[1]["lease_until"] == "2026-05-04T09:25:00Z"
    status, item = reader.call("/items/1/decide", {"decision": "REJECT", "reasons": ["tissue missed"], "comment": "x", "rating": 1})
    assert (status, item["state"], item["decision"], item["rating"]) == (200, "HELD", "REJECT", 1)
    assert reader.call("/items/1/undo")[1]["state"] == "CLAIMED"
    assert reader.call("/items/1/release")[1]["state"] == "OPEN"
    assert site.browser("lund").call("/items/1/reassign", {"to": "okafor"})[1]["reader"] == "okafor"


def test_deciding_claims_on_the_way(reader: Browser) -> None:
    assert reader.call("/items/2/decide", {"decision": "ACCEPT"})[1]["reader"] == "meyer"


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("/items/99/claim", None, 404, "gone"),
        ("/items/1/release", None, 409, "not-claimed"),
        ("/items/1/renew", None, 409, "not-claimed"),
        ("/items/1/undo", None, 409, "not-claimed"),
        ("/items/1/reassign", {"to": "okafor"}, 403, "forbidden"),
        ("/items/1/decide", {"decision": "MAYBE"}, 422, "invalid"),
        ("/items/1/decide", {"decision": "ACCEPT", "rating": 9}, 422, "invalid"),
        ("/items/1/decide", {"decision": "ACCEPT", "reasons": ["unheard of"]}, 422, "bad-judgement"),
        ("/items/1/decide", {"decision": "ACCEPT", "unknown": 1}, 422, "invalid"),
        ("/items/1/decide", {"decision": "ACCEPT", "comment": "\ud800"}, 422, "invalid"),
        ("/items/99999999999999999999/claim", None, 422, "invalid"),
        ("/items/1/decide", {"decision": "ACCEPT", "marks": {"9": "REAL"}}, 422, "bad-judgement"),
        ("/items/1/decide", {"decision": "ACCEPT", "marks": {"one": "REAL"}}, 422, "invalid"),
        ("/items/1/reopen", {"because": "misread"}, 409, "not-decided"),
        ("/items/1/reopen", {"because": ""}, 422, "invalid"),
        ("/nothing", None, 404, "not-found"),
    ],
)
def test_problems(reader: Browser, path: str, content: object, status: int, code: str) -> None:
    answer = reader.post(f"/api/v1{path}", content=_json(content), headers=_headers(reader))
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def _headers(reader: Browser) -> dict[str, str]:
    return {"X-CSRF-Token": reader.csrf, "Content-Type": "application/json"}


def _json(content: object) -> bytes:
    return b"" if content is None else json.dumps(content).encode()


def test_two_readers_at_the_same_moment_are_one_success_and_one_conflict(site: Site) -> None:
    browsers = [site.browser("meyer"), site.browser("okafor")]
    ready, statuses = Barrier(2), []

    def claim(browser: Browser) -> None:
        ready.wait()
        statuses.append(browser.call("/items/1/claim"))

    threads = [Thread(target=claim, args=(b,)) for b in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s for s, _ in statuses) == [200, 409]
    assert next(c["code"] for s, c in statuses if s == 409) == "claimed-by-another"


def test_the_overview(reader: Browser) -> None:
    status, found = reader.call("/overview?days=7", method="GET")
    assert status == 200
    assert len(found["days"]) == 7
    assert found["judged"] == {"FAIL": 1, "REVIEW": 1}
    assert found["deliveries"]["pacs"]["PENDING"] == 6
    assert found["agreement"] is None


def test_the_description_is_for_who_is_signed_in(site: Site, reader: Browser) -> None:
    described = reader.get("/api/v1/openapi.json").json()
    assert {"/api/v1/items", "/api/v1/items/{item_id}/decide", "/api/v1/events"} <= set(described["paths"])
    assert all(path.startswith("/api/v1/") for path in described["paths"])
    assert site.browser().get("/api/v1/openapi.json").status_code == 401


def test_looking_at_an_item_is_audited(site: Site, reader: Browser) -> None:
    reader.get("/api/v1/items/1")
    reader.get("/api/v1/items/1")
    assert [e.actor for e in site.context.audit.entries() if e.action == "view"] == ["meyer"]


def _finalise(site: Site) -> None:
    site.clock.move(minutes=6)
    site.review.finalise_due(site.clock())


def test_error_regions_are_listed_and_marked(site: Site, reader: Browser) -> None:
    status, regions = reader.call("/items/1/regions", method="GET")
    assert (status, [(r["number"], r["tissue"], r["first_slice"], r["voxels"]) for r in regions]) == (
        200,
        [(1, "heart", 2, 8), (2, "heart", 1, 5)],
    )
    marks = {"1": "NOT_REAL", "2": "UNSURE"}
    assert reader.call("/items/1/decide", {"decision": "ACCEPT", "marks": marks})[1]["marks"] == marks
    site.put("3", Verdict.FAIL, 0.4, blind=True)
    assert reader.call("/items/3/regions", method="GET") == (200, [])
    assert reader.call("/items/3/decide", {"decision": "ACCEPT", "marks": {"1": "REAL"}})[0] == 422


def test_a_reader_reopens_an_own_decision_and_a_supervisor_any(site: Site, reader: Browser) -> None:
    reader.call("/items/1/decide", {"decision": "REJECT", "comment": "base"})
    _finalise(site)
    other, chief = site.browser("okafor"), site.browser("lund")
    status, said = other.call("/items/1/reopen", {"because": "misread"})
    assert (status, said["code"]) == (403, "not-yours")
    assert reader.call("/items/1/reopen", {"because": "misread"})[1]["stage"] == "REVISION"
    assert reader.call("/items/1/release")[1]["decision"] == "REJECT", "given up: what was decided stands"
    assert chief.call("/items/1/reopen", {"because": "seen again"})[1]["reader"] == "lund"
    chief.call("/items/1/decide", {"decision": "ACCEPT"})
    _finalise(site)
    readings = reader.call("/items/1/readings", method="GET")[1]
    assert [(r["reader"], r["decision"], r["comment"], r["because"]) for r in readings] == [
        ("meyer", "REJECT", "base", None),
        ("lund", "ACCEPT", "", "seen again"),
    ]


def test_two_readers_learn_of_one_another_when_both_are_final(site: Site, reader: Browser) -> None:
    site.put("3", read_twice=True)
    reader.call("/items/3/decide", {"decision": "REJECT", "comment": "apex", "rating": 1})
    other = site.browser("okafor")

    items = ("/api/v1/items/3", "/api/v1/items?states=", "/api/v1/items/3/readings")
    pages = ("/cases/3", "/cases/3/panel", "/?state=all", "/queue/rows?item_id=3")

    def told(browser: Browser) -> list[str]:
        texts = [browser.get(address).text for address in (*items, *pages)]
        return [word for word in ("apex", "Rejected", '"decision":"REJECT"') for text in texts if word in text]

    assert "apex" in reader.get("/api/v1/items/3").text
    for _ in range(2):  # while it is held, and when it is final
        assert told(other) == []
        _finalise(site)
    assert "apex" not in site.browser("lund").get("/audit").text
    assert "decision REJECT" not in site.browser("lund").get("/audit").text
    status, said = reader.call("/items/3/claim")
    assert (status, said["code"]) == (409, "already-read")
    assert [i["item_id"] for i in reader.get("/api/v1/items?stage=SECOND").json()["items"]] == [3]
    other.call("/items/3/decide", {"decision": "ACCEPT"})
    _finalise(site)
    assert told(site.browser("lund")).count("apex") == 3, "who settles it sees both"
    assert "decision REJECT" in site.browser("lund").get("/audit").text
    assert other.call("/items/3/claim")[1]["code"] == "already-read"
    assert site.browser("lund").call("/items/3/decide", {"decision": "REJECT"})[0] == 200
    _finalise(site)
    readers = reader.call("/overview", method="GET")[1]["readers"]
    assert (readers["read_twice"], readers["agreed"]) == (1, 0)


def test_drift(site: Site, reader: Browser) -> None:
    status, found = reader.call("/overview/drift", method="GET")
    assert (status, found["findings"], found["level"]) == (200, [], 0.01)
    fill(site)
    found = reader.call("/overview/drift", method="GET")[1]
    assert len(found["findings"]) == 1
    assert found["findings"][0].startswith("Scanner SIEMENS Aera, cardiac-sax: predicted DSC fell from 0.9")
    first = found["groups"][0]
    assert (first["by"], first["name"], len(first["weeks"])) == ("scanner", "SIEMENS Aera", 30)
    assert [c["measure"] for c in first["comparisons"] if c["drifted"]] == ["predicted_dsc"]
    page = reader.get("/overview").text
    assert escape(found["findings"][0]) in page
    assert page.count("<polyline") >= 7


@pytest.mark.parametrize("order", ["worst", "oldest", "newest", "task", "institution", "scanner", "segmenter"])
def test_orders_and_filters(site: Site, reader: Browser, order: str) -> None:
    site.put("3", institution="North", scanner="Maker A", segmenter="net")
    chosen = {"task": "cardiac-sax", "institution": "North", "scanner": "Maker A", "segmenter": "net", "order": order}
    assert [i["case_id"] for i in reader.get("/api/v1/items", params=chosen).json()["items"]] == ["3"]
    assert reader.get("/", params=chosen).text.count("<tr data-item") == 1
    assert f'<option value="{order}" selected>' in reader.get("/", params={"order": order}).text
