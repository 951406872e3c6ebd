"""Deliveries: each object to each destination once, in order within a case, again after a crash, always the same bytes."""

from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import EVERYTHING, at, case, result

from qcnode.store.database import open_database
from qcnode.store.jobs import Jobs
from qcnode.store.outbox import Delivery, LeaseLost, Outbox

LEASE = timedelta(seconds=60)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """Case "a" and, ten seconds younger, case "b", each with three objects for "pacs"."""
    database = open_database(tmp_path)
    jobs = Jobs(database)
    for i, name in enumerate("ab"):
        jobs.put_case(case(name, query=f"2.25.{i + 1}"), at(10 * i))
        claimed = jobs.claim("w", at(10 * i), LEASE)
        assert claimed is not None
        jobs.settle(claimed, result(claimed.case, directory=tmp_path / "results"), EVERYTHING, at(10 * i))
    return Outbox(database)


def _claim(outbox: Outbox, seconds: float) -> Delivery:
    claimed = outbox.claim("pacs", "w", at(seconds), LEASE)
    assert claimed is not None
    return claimed


def test_in_order_until_all_is_delivered(outbox: Outbox, tmp_path: Path) -> None:
    sent = []
    while (claimed := outbox.claim("pacs", "w", at(20), LEASE)) is not None:
        sent.append((claimed.case_id, claimed.kind))
        outbox.delivered(claimed, at(21))
    assert sent == [(name, kind) for name in "ab" for kind in ("error_map", "summary", "report")]
    assert outbox.counts() == {"pacs": {"DELIVERED": 6}}
    done = outbox.list(case_id="a")[0]
    assert (done.path, done.delivered_at, done.attempts) == (tmp_path / "results/a/error_map.dcm", at(21), 1)


def test_a_report_waits_for_its_error_map_but_other_cases_go_on(outbox: Outbox) -> None:
    failing = _claim(outbox, 20)
    assert _claim(outbox, 20).case_id == "b"  # a's report and summary wait while its error map is being sent
    outbox.retry(failing, next_attempt_at=at(100), error="connection refused")
    assert outbox.claim("pacs", "w", at(30), LEASE) is None
    again = _claim(outbox, 100)
    assert (again.delivery_id, again.attempts, again.last_error) == (failing.delivery_id, 2, "connection refused")


def test_a_dead_error_map_does_not_hold_back_the_report(outbox: Outbox) -> None:
    for expected in ("error_map", "summary"):
        claimed = _claim(outbox, 20)
        assert (claimed.case_id, claimed.kind) == ("a", expected)
        outbox.dead(claimed, "0122H: SOP class not supported", at(1))
    assert _claim(outbox, 20).kind == "report"
    dead = outbox.list(state="DEAD", destination="pacs")
    assert [d.last_error for d in dead] == ["0122H: SOP class not supported"] * 2
    assert outbox.revive(dead[0].delivery_id, at(200))
    assert not outbox.revive(dead[0].delivery_id, at(200))
    assert outbox.list(case_id="a")[-1].state == "PENDING"


def test_destinations_do_not_wait_for_one_another(outbox: Outbox) -> None:
    assert outbox.claim("elsewhere", "w", at(20), LEASE) is None


def test_a_crashed_sender_loses_its_delivery(outbox: Outbox) -> None:
    crashed = _claim(outbox, 20)
    other = _claim(outbox, 21)
    taken = _claim(outbox, 80.5)
    assert taken.delivery_id == crashed.delivery_id
    for late in (
        lambda: outbox.delivered(crashed, at(81)),
        lambda: outbox.retry(crashed, next_attempt_at=at(99), error="x"),
        lambda: outbox.dead(crashed, "x", at(1)),
        lambda: outbox.replace_file(crashed, Path("/x"), "x"),
    ):
        with pytest.raises(LeaseLost):
            late()
    outbox.delivered(taken, at(82))
    outbox.delivered(other, at(82))  # its lease ran out, but nobody took it
    with pytest.raises(LeaseLost):
        outbox.delivered(taken, at(83))


def test_the_bytes_are_settled_once(outbox: Outbox, tmp_path: Path) -> None:
    claimed = _claim(outbox, 20)
    assert not claimed.file_settled
    settled = outbox.replace_file(claimed, tmp_path / "results/a/refreshed.dcm", "first")
    assert (settled.path, settled.sha256, settled.file_settled) == (tmp_path / "results/a/refreshed.dcm", "first", True)
    assert outbox.replace_file(settled, tmp_path / "other.dcm", "second") == settled
    outbox.retry(settled, next_attempt_at=at(30), error="x")
    again = _claim(outbox, 31)
    assert (again.path, again.sha256, again.file_settled) == (settled.path, "first", True)
