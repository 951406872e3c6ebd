"""The service: leases and holds as configured, reasons that are configured, and blind items that stay blind."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from store_samples import at, put_item

from qcnode.case import Verdict
from qcnode.config import ReviewSettings
from qcnode.regions import ErrorRegion, Mark
from qcnode.review import Review, as_shown
from qcnode.store.database import Database, open_database
from qcnode.store.worklist import Decision, Filters, Judgement, Order, Worklist, WorklistError

ACCEPT = Judgement(Decision.ACCEPT)
HIDDEN = ("predicted_dsc", "predicted_nsd", "dsc_low", "dsc_high", "nsd_low", "nsd_high", "interval_level", "preview_path", "verdict")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


def review(database: Database, **settings: object) -> Review:
    return Review(Worklist(database), ReviewSettings.model_validate(settings))


def test_leases_and_holds_last_as_configured(database: Database) -> None:
    number = put_item(database, "1").item_id
    service = review(database, lease_minutes=2, hold_minutes=1)
    assert service.claim(number, "ann", at(0)).lease_until == at(120)
    assert service.renew(number, "ann", at(60)).lease_until == at(180)
    assert service.reassign(number, "chief", "bob", at(70)).lease_until == at(190)
    assert service.decide(number, "bob", ACCEPT, at(80)).held_until == at(140)
    assert service.undo(number, "bob", at(90)).lease_until == at(210)
    assert service.release(number, "bob", at(100)).state == "OPEN"
    service.claim(number, "ann", at(100))
    service.decide(number, "ann", ACCEPT, at(100))
    assert service.finalise_due(at(159)) == []
    assert [item.state for item in service.finalise_due(at(160))] == ["DECIDED"]
    service.passed_on(number, at(161))
    assert service.finalise_due(at(162)) == []


def test_without_a_hold_nothing_is_taken_back(database: Database) -> None:
    number = put_item(database, "1").item_id
    service = review(database, hold_minutes=0)
    service.claim(number, "ann", at(0))
    service.decide(number, "ann", ACCEPT, at(1))
    with pytest.raises(WorklistError, match="final"):
        service.undo(number, "ann", at(1))
    assert [item.item_id for item in service.finalise_due(at(1))] == [number]


def test_only_configured_reasons_count(database: Database) -> None:
    number = put_item(database, "1").item_id
    service = review(database, reasons=["apex", "base"])
    service.claim(number, "ann", at(0))
    with pytest.raises(WorklistError, match=r"review\.reasons has: apex, base") as error:
        service.decide(number, "ann", Judgement(Decision.REJECT, ("base", "ugly")), at(1))
    assert error.value.code == "bad-judgement"
    assert service.decide(number, "ann", Judgement(Decision.REJECT, ("base",)), at(1)).decision_reasons == ("base",)


def test_a_blind_item_shows_no_prediction_until_its_decision_is_final(database: Database) -> None:
    folder = database.directory / "results/1"
    (folder / "viewer").mkdir(parents=True)
    (folder / "preview.png").write_bytes(b"png")
    number = put_item(database, "1", Verdict.PASS, 0.93, blind=True, segmenter="hasty").item_id
    service = review(database)

    def hidden() -> bool:
        shown = service.show(number, at(5))
        (listed,) = service.page(Filters(states=()), Order.WORST, 0, 10, at(5)).items
        told = any("verdict" in entry.details for entry in service.history(number, at(5)))
        assert listed == shown
        assert as_shown(shown) == shown
        assert (shown.patient_name, shown.segmenter, shown.blind, shown.viewer_path) == ("TEST^ONLY", "hasty", True, folder / "viewer")
        values = [getattr(shown, name) for name in HIDDEN]
        assert all(v is None for v in values) == (shown.reasons == ()) == (not told)
        return shown.verdict is None

    assert hidden()
    for act in (
        lambda: service.claim(number, "ann", at(1)),
        lambda: service.renew(number, "ann", at(1)),
        lambda: service.decide(number, "ann", ACCEPT, at(2)),
        lambda: service.undo(number, "ann", at(3)),
        lambda: service.reassign(number, "chief", "ann", at(3)),
        lambda: service.release(number, "ann", at(4)),
        lambda: service.claim(number, "ann", at(4)),
        lambda: service.decide(number, "ann", ACCEPT, at(4)),
    ):
        assert act().verdict is None
        assert hidden()
    (final,) = service.finalise_due(at(500))
    assert (final.verdict, final.predicted_dsc, final.preview_path) == (Verdict.PASS, 0.93, folder / "preview.png")
    assert not hidden()


def test_other_items_show_everything(database: Database) -> None:
    item = put_item(database, "1")
    assert as_shown(item) is item
    assert any("verdict" in entry.details for entry in review(database).history(item.item_id, at(1)))


def test_reading(database: Database) -> None:
    first, second = (put_item(database, name, seconds=n).item_id for n, name in enumerate("12"))
    service = review(database)
    page = service.page(Filters(), Order.OLDEST, 1, 1, at(5))
    assert ([item.item_id for item in page.items], page.total) == ([second], 2)
    assert service.neighbours(first, Filters(), Order.OLDEST, at(5)) == (None, second)
    assert service.facets().task == ("cardiac-sax",)
    assert service.overview(at(5), 1).backlog == 2
    service.viewed(first, "ann", at(6))
    assert service.history(first, at(7))[-1].action == "view"


def decided_by(service: Review, number: int, reader: str, judgement: Judgement, seconds: float) -> None:
    service.claim(number, reader, at(seconds))
    service.decide(number, reader, judgement, at(seconds))
    service.finalise_due(at(seconds))


def test_of_two_readers_neither_knows_what_the_other_one_says(database: Database) -> None:
    number = put_item(database, "1", read_twice=True).item_id
    service = review(database, hold_minutes=1)
    service.claim(number, "ann", at(0))
    said = Judgement(Decision.REJECT, ("other",), "apex", 2)
    assert service.decide(number, "ann", said, at(1)).decision is Decision.REJECT, "one's own decision is shown"
    assert service.show(number, at(2), "ann").comment == "apex"

    def told_to(reader: str | None) -> set[object]:
        item = service.show(number, at(70), reader)
        (listed,) = service.page(Filters(states=()), Order.WORST, 0, 10, at(70), reader).items
        assert listed == item
        history = service.history(number, at(70))
        entries = [*history, *service.without_secrets(history)]
        words = {word for entry in entries for word in ("REJECT", "apex") if word in str(entry.details)}
        readings = {reading.comment for reading in service.readings(number, at(70))}
        return {item.decision, item.comment, item.rating, *item.decision_reasons, *words, *readings} - {None}

    assert told_to("bob") == told_to(None) == set(), "held"
    service.finalise_due(at(61))
    assert told_to("bob") == told_to("ann") == set(), "waiting for the second reader"
    assert (service.may_read(number, "ann", at(70)), service.may_read(number, "bob", at(70))) == (False, True)
    service.claim(number, "bob", at(62))
    service.decide(number, "bob", Judgement(Decision.ACCEPT), at(63))
    assert "apex" not in told_to("bob")
    service.finalise_due(at(123))
    assert told_to("chief") >= {"REJECT", "apex"}, "who settles it sees both"
    assert [reading.reader for reading in service.readings(number, at(124))] == ["ann", "bob"]


def test_a_revision_needs_words_and_shows_a_blind_case_to_who_knows_it(database: Database) -> None:
    number = put_item(database, "1", Verdict.FAIL, 0.4, blind=True).item_id
    service = review(database, hold_minutes=0)
    assert service.show(number, at(0)).verdict is None
    decided_by(service, number, "ann", ACCEPT, 1)
    with pytest.raises(WorklistError, match="say why") as error:
        service.reopen(number, "ann", "  ", at(2), of_anybody=False)
    assert error.value.code == "bad-judgement"
    assert service.reopen(number, "ann", " base ", at(3), of_anybody=False).because == "base"
    assert service.show(number, at(4)).verdict is Verdict.FAIL
    assert service.page(Filters(verdict=Verdict.FAIL), Order.WORST, 0, 9, at(4)).total == 1


def test_marks_are_of_regions_that_the_reader_sees(database: Database) -> None:
    folder = database.directory / "results/1/viewer"
    folder.mkdir(parents=True)
    region = ErrorRegion(1, "myocardium", 1, 2, 2, 34, 0.5, (0.0, 0.0, 0.0))
    (folder / "viewer.json").write_text(json.dumps({"prediction": {"regions": [asdict(region)]}}))
    number = put_item(database, "1", Verdict.PASS, 0.9, blind=True).item_id
    service = review(database, hold_minutes=0)
    marked = Judgement(Decision.REJECT, marks={1: Mark.REAL})
    service.claim(number, "ann", at(0))
    assert service.regions(number, at(0)) == ()
    with pytest.raises(WorklistError, match="no error region 1"):
        service.decide(number, "ann", marked, at(1))
    service.release(number, "ann", at(1))
    decided_by(service, number, "ann", ACCEPT, 2)
    service.reopen(number, "ann", "errors seen", at(3), of_anybody=False)
    assert service.regions(number, at(3)) == (region,)
    with pytest.raises(WorklistError, match="no error region 2"):
        service.decide(number, "ann", Judgement(Decision.REJECT, marks={1: Mark.REAL, 2: Mark.REAL}), at(4))
    assert service.decide(number, "ann", marked, at(5)).marks == {1: Mark.REAL}
    assert service.history(number, at(6))[-1].details["regions"] == {"1": "REAL"}
