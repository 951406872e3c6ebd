"""The service: leases and holds as configured, reasons that are configured, and blind items that stay blind."""

from pathlib import Path

import pytest
from store_samples import at, put_item

from qcnode.case import Verdict
from qcnode.config import ReviewSettings
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
