"""The states of a delivery between taken and proven: claimed, asked, reported, looked at, whatever comes first, and after a restart."""

from datetime import timedelta
from pathlib import Path

import pytest
from store_samples import EVERYTHING, at, case, result

from qcnode.commitment import CommitmentReport
from qcnode.store.database import Database, open_database
from qcnode.store.delivery import Delivery
from qcnode.store.jobs import Jobs
from qcnode.store.leases import LeaseLost, release_leases
from qcnode.store.notices import Event, EventKind
from qcnode.store.outbox import Outbox
from qcnode.store.proofs import Proofs

LEASE = timedelta(seconds=60)
PACS = frozenset({"pacs"})


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Case "a" with three objects that "pacs" took at 10, 20 and 30 s."""
    database = open_database(tmp_path)
    jobs, outbox = Jobs(database), Outbox(database)
    jobs.put_case(case("a"), at(0))
    claimed = jobs.claim("w", at(0), LEASE)
    assert claimed is not None
    jobs.settle(claimed, result(claimed.case, directory=tmp_path / "results"), EVERYTHING, at(0))
    for seconds in (10, 20, 30):
        delivery = outbox.claim("pacs", "w", at(seconds), LEASE)
        assert delivery is not None
        outbox.delivered(delivery, at(seconds))
    return database


def claim(proofs: Proofs, seconds: float) -> Delivery:
    claimed = proofs.claim("pacs", "w", at(seconds), LEASE)
    assert claimed is not None
    return claimed


def states(database: Database) -> list[str]:
    return [d.state for d in Outbox(database).list()]


def report(transaction_uid: str, *committed: str, **failed: int) -> CommitmentReport:
    return CommitmentReport(transaction_uid, frozenset(committed), failed)


def test_what_was_taken_first_is_looked_at_first_and_each_is_proven_once(database: Database) -> None:
    proofs = Proofs(database)
    kinds = []
    while (claimed := proofs.claim("pacs", "w", at(40), LEASE)) is not None:
        kinds.append(claimed.kind)
        proofs.proven(claimed, "read-back", at(41))
    assert kinds == ["error_map", "summary", "report"]
    assert Outbox(database).counts() == {"pacs": {"PROVEN": 3}}
    assert {(d.proof, d.proven_at, d.last_error) for d in Outbox(database).list()} == {("read-back", at(41), None)}


def test_a_look_that_found_nothing_out_comes_back_and_does_not_hold_up_the_next(database: Database) -> None:
    proofs = Proofs(database)
    first = claim(proofs, 40)
    proofs.look_again(first, next_attempt_at=at(100), error="not established")
    assert claim(proofs, 40).delivery_id != first.delivery_id
    claim(proofs, 40)
    assert proofs.claim("pacs", "w", at(99), LEASE) is None
    again = claim(proofs, 100)
    assert (again.delivery_id, again.proof_attempts, again.proof_since, again.last_error) == (
        first.delivery_id,
        2,
        at(40),
        "not established",
    )


def test_what_is_missing_is_sent_again_and_proven_anew(database: Database) -> None:
    proofs, outbox = Proofs(database), Outbox(database)
    proofs.send_again(claim(proofs, 40), next_attempt_at=at(50), error="not there")
    assert states(database)[0:3].count("PENDING") == 1
    assert outbox.claim("pacs", "w", at(49), LEASE) is None
    resent = outbox.claim("pacs", "w", at(50), LEASE)
    assert resent is not None
    assert (resent.times_missing, resent.delivered_at) == (1, None)
    outbox.delivered(resent, at(51))
    (row,) = [d for d in outbox.list() if d.delivery_id == resent.delivery_id]
    assert (row.state, row.proof_attempts) == ("DELIVERED", 0)


def test_other_content_is_dead_and_told(database: Database) -> None:
    told: list[Event] = []
    proofs = Proofs(database, lambda event: told.append(event) or ())
    proofs.dead(claim(proofs, 40), "other content", at(41))
    (dead,) = Outbox(database).list(state="DEAD")
    assert dead.last_error == "other content"
    assert [(event.kind, event.facts["destination"]) for event in told] == [(EventKind.GIVEN_UP, "pacs")]


def test_a_look_that_was_cut_off_is_made_again(database: Database) -> None:
    proofs = Proofs(database)
    crashed = claim(proofs, 40)
    release_leases(database)
    assert states(database) == ["DELIVERED"] * 3
    taken = claim(proofs, 41)
    assert taken.delivery_id == crashed.delivery_id
    for late in (
        lambda: proofs.proven(crashed, "read-back", at(42)),
        lambda: proofs.ask(crashed, "2.25.7", at(42)),
        lambda: proofs.look_again(crashed, next_attempt_at=at(42), error="x"),
        lambda: proofs.send_again(crashed, next_attempt_at=at(42), error="x"),
        lambda: proofs.dead(crashed, "x", at(42)),
    ):
        with pytest.raises(LeaseLost):
            late()
    proofs.proven(taken, "read-back", at(42))


def test_a_transaction_is_kept_before_it_is_asked_for(database: Database) -> None:
    """A report that overtakes the answer to the request, or comes after a crash between the two, finds its delivery."""
    proofs = Proofs(database)
    asked = proofs.ask(claim(proofs, 40), "2.25.7", at(1000))
    assert (asked.commitment, asked.transaction_uid, asked.commitment_until) == ("ASKED", "2.25.7", at(1000))
    assert proofs.report(PACS, report("2.25.7", asked.sop_instance_uid), at(41))
    proofs.await_report(asked)
    again = claim(proofs, 41)
    if again.delivery_id != asked.delivery_id:  # the two others were due before
        claim(proofs, 41)
        again = claim(proofs, 41)
    assert (again.delivery_id, again.commitment) == (asked.delivery_id, "GIVEN")


def test_a_report_is_awaited_until_it_is_overdue(database: Database) -> None:
    proofs = Proofs(database)
    asked = proofs.ask(claim(proofs, 40), "2.25.7", at(1000))
    proofs.await_report(asked)
    for _ in range(2):
        proofs.proven(claim(proofs, 40), "read-back", at(40))
    assert proofs.claim("pacs", "w", at(999), LEASE) is None
    assert claim(proofs, 1000).commitment == "ASKED"


def test_reports_are_taken_from_the_right_archive_for_known_transactions_and_once(database: Database) -> None:
    proofs = Proofs(database)
    asked = proofs.ask(claim(proofs, 40), "2.25.7", at(1000))
    proofs.await_report(asked)
    ours = asked.sop_instance_uid
    assert not proofs.report(PACS, report("2.25.8", ours), at(41)), "an unknown transaction"
    assert not proofs.report({"elsewhere"}, report("2.25.7", ours), at(41)), "another archive's"
    assert not proofs.report(set(), report("2.25.7", ours), at(41)), "an archive that was never asked"
    assert proofs.report(PACS, report("2.25.7", "2.25.99"), at(41))
    assert _row(database, asked).commitment == "ASKED", "a report that does not name it says nothing"
    assert proofs.report(PACS, report("2.25.7", **{ours: 0x0112}), at(42))
    refused = _row(database, asked)
    assert (refused.commitment, refused.next_attempt_at) == ("REFUSED", at(42))
    assert "0112H" in (refused.last_error or "")
    assert proofs.report(PACS, report("2.25.7", ours), at(43)), "said twice, it is still known"
    assert _row(database, asked) == refused


def test_sent_again_it_needs_a_new_transaction(database: Database) -> None:
    proofs = Proofs(database)
    asked = proofs.ask(claim(proofs, 40), "2.25.7", at(1000))
    proofs.send_again(asked, next_attempt_at=at(50), error="not there")
    row = _row(database, asked)
    assert (row.commitment, row.transaction_uid, row.commitment_until) == (None, None, None)
    assert not proofs.report(PACS, report("2.25.7", asked.sop_instance_uid), at(60))


def _row(database: Database, delivery: Delivery) -> Delivery:
    return next(d for d in Outbox(database).list() if d.delivery_id == delivery.delivery_id)
