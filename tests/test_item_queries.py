"""Which items a page shows, in which order, and that this stays quick."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import thread_time

import pytest
from sqlalchemy import insert
from store_samples import at, put_item

from qcnode.case import Verdict
from qcnode.store.database import Database, open_database
from qcnode.store.schema import case_table, item_table
from qcnode.store.worklist import Decision, Filters, Judgement, Order, Worklist

NOW = at(1000)
ALL = Filters(states=())


@pytest.fixture
def worklist(tmp_path: Path) -> Worklist:
    """Seven items: 1 to 4 open, 5 claimed by ann, 6 held by bob, 7 decided by ann; 4 is blind."""
    database = open_database(tmp_path)
    put_item(database, "1", Verdict.FAIL, 0.3, 1, institution="North", patient_name="DOE^JANE", patient_id="P-100")
    put_item(database, "2", Verdict.REVIEW, 0.78, 2, institution="South", patient_name="DOE^JOHN", accession_number="A_77")
    put_item(database, "3", Verdict.FAIL, 0.1, 3, segmenter="hasty", patient_name="Müller^Jane=X")
    put_item(database, "4", Verdict.PASS, 0.9, 4, blind=True, scanner="Aera")
    for name, reader in (("5", "ann"), ("6", "bob"), ("7", "ann")):
        put_item(database, name, Verdict.FAIL, 0.5, int(name))
        Worklist(database).claim(int(name), reader, at(10), at(1010))
    found = Worklist(database)
    found.hold(7, "ann", Judgement(Decision.REJECT), at(11), at(12))
    found.finalise_due(at(12))
    found.hold(6, "bob", Judgement(Decision.ACCEPT), at(13), at(1013))
    return found


def numbers(worklist: Worklist, filters: Filters, order: Order = Order.OLDEST, now=NOW) -> list[int]:
    items, total = worklist.page(filters, order, 0, 50, now)
    assert total == len(items)
    return [item.item_id for item in items]


def test_orders(worklist: Worklist) -> None:
    assert numbers(worklist, ALL, Order.OLDEST) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(worklist, ALL, Order.NEWEST) == [7, 6, 5, 4, 3, 2, 1]
    worst = [n for n in numbers(worklist, ALL, Order.WORST) if n != 4]
    assert worst == [3, 1, 5, 6, 7, 2]
    by_site = [n for n in numbers(worklist, ALL, Order.INSTITUTION) if n != 4]
    assert by_site == [3, 5, 6, 7, 1, 2], "unknown, North, South; in each the worst first"
    assert numbers(worklist, ALL, Order.SCANNER)[-1] == 4
    assert numbers(worklist, ALL, Order.SEGMENTER)[-1] == 3
    assert numbers(worklist, ALL, Order.TASK) == numbers(worklist, ALL, Order.WORST)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [1, 2, 3, 4, 5]),
        (Filters(states=("OPEN",)), [1, 2, 3, 4]),
        (Filters(states=("CLAIMED",)), [5]),
        (Filters(states=("HELD", "DECIDED")), [6, 7]),
        (Filters(verdict=Verdict.REVIEW), [2]),
        (Filters(institution="North"), [1]),
        (Filters(segmenter="hasty"), [3]),
        (Filters(scanner="Aera"), [4]),
        (Filters(task="cardiac-sax", verdict=Verdict.FAIL), [1, 3, 5]),
        (Filters(task="brain"), []),
        (Filters(reader="ann"), [5]),
        (replace(ALL, reader="ann"), [5, 7]),
        (Filters(free_for="bob"), [1, 2, 3, 4]),
        (Filters(free_for="ann"), [1, 2, 3, 4, 5]),
        (Filters(text="doe"), [1, 2]),
        (Filters(text="jane DOE"), [1]),
        (Filters(text="Doe^J"), [1, 2]),
        (Filters(text="p-100"), [1]),
        (Filters(text="A_7"), [2]),
        (Filters(text="A%7"), []),
        (Filters(text="MÜLLER"), [3]),
    ],
)
def test_filters(worklist: Worklist, filters: Filters, expected: list[int]) -> None:
    assert numbers(worklist, filters) == expected


def test_a_claim_that_ran_out_is_open(worklist: Worklist) -> None:
    later = at(2000)
    assert numbers(worklist, Filters(states=("OPEN",)), now=later) == [1, 2, 3, 4, 5]
    assert numbers(worklist, Filters(states=("CLAIMED",)), now=later) == []
    assert numbers(worklist, Filters(reader="ann"), now=later) == []
    assert numbers(worklist, Filters(free_for="bob"), now=later) == [1, 2, 3, 4, 5]
    (item,) = (i for i in worklist.page(Filters(), Order.WORST, 0, 50, later)[0] if i.item_id == 5)
    assert (item.state, item.reader) == ("OPEN", None)


def test_the_verdict_of_a_hidden_item_is_not_found(worklist: Worklist) -> None:
    assert numbers(worklist, Filters(verdict=Verdict.PASS)) == []
    worklist.claim(4, "ann", NOW, at(2000))
    worklist.hold(4, "ann", Judgement(Decision.ACCEPT), NOW, NOW)
    assert numbers(worklist, replace(ALL, verdict=Verdict.PASS)) == []
    worklist.finalise_due(NOW)
    assert numbers(worklist, replace(ALL, verdict=Verdict.PASS)) == [4]


def test_pages(worklist: Worklist) -> None:
    pages = [worklist.page(ALL, Order.OLDEST, offset, 3, NOW) for offset in (0, 3, 6, 9)]
    assert [[i.item_id for i in items] for items, _ in pages] == [[1, 2, 3], [4, 5, 6], [7], []]
    assert {total for _, total in pages} == {7}


@pytest.mark.parametrize("order", Order)
def test_neighbours_follow_the_order(worklist: Worklist, order: Order) -> None:
    ordered = numbers(worklist, Filters(), order)
    for before, here, after in zip([None, *ordered], ordered, [*ordered[1:], None], strict=False):
        assert worklist.neighbours(here, Filters(), order, NOW) == (before, after)


def test_a_decided_item_still_has_neighbours(worklist: Worklist) -> None:
    assert worklist.neighbours(7, Filters(), Order.OLDEST, NOW) == (5, None)
    assert worklist.neighbours(7, Filters(free_for="bob"), Order.OLDEST, NOW) == (4, None)


def test_facets_are_what_occurs(worklist: Worklist) -> None:
    facets = worklist.facets()
    assert facets.task == ("cardiac-sax",)
    assert facets.institution == ("North", "South")
    assert (facets.scanner, facets.segmenter, facets.reader) == (("Aera",), ("hasty",), ("ann", "bob"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """10,000 items that wait, of 4 institutions, 8 scanners and 5 segmenters."""
    database = open_database(tmp_path_factory.mktemp("many"))
    with database.begin() as connection:
        for number in range(10_000):
            insert_item(connection, number)
    yield database
    database.close()


def insert_item(connection, number: int) -> None:
    verdict = ("FAIL", "FAIL", "REVIEW", "UNASSESSABLE")[number % 4]
    columns = {
        "case_id": f"{number:064d}",
        "study_instance_uid": f"2.25.{number}",
        "query_sop_instance_uid": f"2.25.9{number}",
        "task": "cardiac-sax",
        "created_at": at(number),
    }
    settled = {
        "state": "DONE",
        "content": "x" * 4000,
        "attempts": 1,
        "next_attempt_at": at(0),
        "settled_at": at(number),
        "verdict": verdict,
    }
    connection.execute(insert(case_table).values(columns | settled))
    reasons = '[{"code": "below-threshold", "text": "the predicted DSC 0.41 is below the threshold 0.75"}]'
    shown = {
        "query_series_instance_uid": f"2.25.8{number}",
        "patient_name": f"NAME{number % 3000}^GIVEN{number % 70}",
        "patient_id": f"P{number % 3000}",
        "accession_number": f"A{number}",
        "person_words": f"name{number % 3000} given{number % 70} p{number % 3000} a{number}",
        "birth_date": "19700101",
        "study_date": "20260504",
        "institution": f"Hospital {number % 4}",
        "scanner": f"SIEMENS Aera, MR{number % 8}",
        "segmenter": f"network {number % 5}",
        "verdict": verdict,
        "predicted_dsc": (number * 37 % 1000) / 1000,
        "rank": (number * 37 % 1000) / 1000,
        "reasons": reasons,
        "preview_path": f"results/{number:064d}/preview.png",
        "viewer_path": f"results/{number:064d}/viewer",
        "blind": False,
        "state": "OPEN",
        "decision_reasons": "[]",
    }
    connection.execute(insert(item_table).values(columns | shown))


@pytest.mark.parametrize(
    ("filters", "order", "offset"),
    [
        (Filters(), Order.WORST, 0),
        (Filters(), Order.WORST, 9900),
        (Filters(), Order.NEWEST, 0),
        (Filters(), Order.SCANNER, 5000),
        (Filters(verdict=Verdict.FAIL, institution="Hospital 1", segmenter="network 1"), Order.WORST, 0),
        (Filters(verdict=Verdict.FAIL, scanner="SIEMENS Aera, MR4", reader="ann"), Order.OLDEST, 0),
        (Filters(text="name77 given"), Order.WORST, 0),
        (ALL, Order.WORST, 5000),
    ],
    ids=["worst", "last page", "newest", "by scanner", "filtered", "nothing found", "text", "all states"],
)
def test_a_page_of_ten_thousand_is_quick(many: Database, filters: Filters, order: Order, offset: int) -> None:
    worklist, seconds = Worklist(many), []
    for _ in range(7):
        start = thread_time()
        worklist.page(filters, order, offset, 50, at(20_000))
        seconds.append(thread_time() - start)
    assert median(seconds) < 0.05, "4 to 10 ms of processor time where this was written"
