"""Notifications by rule: what is told, to whom, signed, once more after failures, and never anything of a patient."""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from drifting_site import SCANNERS, fill
from receivers import MailReceiver, Receiver, mail_receiver, make_certificate, web_receiver
from store_samples import EVERYTHING, at, case, put_item, result
from web_samples import open_site

from qcnode.case import Verdict
from qcnode.config import Config, Retry, ReviewSettings
from qcnode.config.notifications import Notifications
from qcnode.doctor import examine
from qcnode.notify.email import body_of
from qcnode.notify.rules import Rules
from qcnode.notify.step import NotifyStep, open_channel
from qcnode.notify.watch import Watch
from qcnode.review import Review
from qcnode.status import describe_state
from qcnode.store.database import Database, open_database
from qcnode.store.jobs import Jobs
from qcnode.store.leases import LeaseLost, release_leases
from qcnode.store.notices import Event, EventKind, Notices
from qcnode.store.outbox import Outbox
from qcnode.store.worklist import Decision, Judgement, Worklist

SECRET = "whsec_" + base64.b64encode(b"a key of thirty-two bytes, or so").decode()
PATIENT = MappingProxyType(
    {"patient_name": "DOE^JANE", "patient_id": "P-4711", "birth_date": "19700102", "accession_number": "ACC-99", "institution": "General"}
)
EMAIL = {"name": "a", "kind": "email", "host": "h", "sender": "a@b", "recipients": ["c@d"]}
FORBIDDEN = ("DOE", "JANE", "4711", "1970", "ACC", "General", "2.25.")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_database(tmp_path)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    with web_receiver() as made:
        yield made


@pytest.fixture
def mailbox() -> Iterator[MailReceiver]:
    with mail_receiver() as made:
        yield made


def hook(receiver: Receiver, **changes: object) -> dict[str, object]:
    return {"name": "hook", "kind": "webhook", "url": receiver.url, "secret_env": "HOOK_SECRET", "timeout_seconds": 0.5} | changes


def post_office(mailbox: MailReceiver, **changes: object) -> dict[str, object]:
    known = {"name": "mail", "kind": "email", "host": "127.0.0.1", "port": mailbox.port, "security": "none", "timeout_seconds": 2}
    return known | {"sender": "qcnode@example.org", "recipients": ["readers@example.org"]} | changes


def settings(channels: list[dict[str, object]], *rules: dict[str, object], **changes: object) -> Notifications:
    names = [channel["name"] for channel in channels]
    return Notifications.model_validate({"channels": channels, "rules": [{"channels": names} | rule for rule in rules], **changes})


def flag(database: Database, told: Notifications, case_id: str, verdict: Verdict = Verdict.FAIL, **changes: Any) -> None:
    """A case is settled. changes: `seconds`, or of its CaseResult."""
    put_item(database, case_id, verdict, jobs=Jobs(database, Rules(told)), **PATIENT | changes)


def step(database: Database, told: Notifications, now: float, place: int = 0, retry: Retry | None = None) -> NotifyStep:
    return NotifyStep(Notices(database), open_channel(told.channels[place]), retry or Retry(), "w", lambda: at(now))


def verified(secret: str, headers: dict[str, str], body: bytes, now: datetime) -> dict[str, Any]:
    """What docs/operations.md tells receivers to do."""
    namespace: dict[str, Any] = {}
    text = (Path(__file__).parent.parent / "docs/operations.md").read_text()
    found = re.search(r"```python\n(.*?def verified.*?)```", text, re.DOTALL)
    assert found
    exec(found[1], namespace)
    answer: dict[str, Any] = namespace["verified"](secret, headers, body, now.timestamp())
    return answer


def test_a_flagged_case_is_told_signed_and_without_the_patient(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "flagged"}, worklist_url="https://qc.example.org/")
    flag(database, told, "1")
    assert step(database, told, 1)()
    assert not step(database, told, 2)()
    (post,) = receiver.posts
    assert post.path == "/hook?from=qcnode"
    content = verified(SECRET, post.headers, post.body, at(1))
    facts = {"item_id": 1, "case_id": "1", "task": "cardiac-sax", "verdict": "FAIL", "reasons": ["below-threshold"]}
    facts |= {"predicted_dsc": 0.4, "predicted_nsd": 0.5, "link": "https://qc.example.org/cases/1"}
    assert content == {"type": "flagged", "timestamp": "2026-05-04T08:00:00+00:00", "data": facts}
    assert not [word for word in FORBIDDEN if word in post.body.decode() + str(post.headers)]
    assert Notices(database).counts() == {"hook": {"SENT": 1}}


def test_the_recipe_in_the_documentation_refuses_what_was_changed_or_is_old(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "flagged"})
    flag(database, told, "1")
    step(database, told, 1)()
    (post,) = receiver.posts
    with pytest.raises(ValueError, match="signature"):
        verified(SECRET, post.headers, post.body.replace(b"FAIL", b"PASS"), at(1))
    with pytest.raises(ValueError, match="signature"):
        verified("whsec_" + base64.b64encode(bytes(32)).decode(), post.headers, post.body, at(1))
    with pytest.raises(ValueError, match="old"):
        verified(SECRET, post.headers, post.body, at(1000))
    by_hand = hmac.new(b"a key of thirty-two bytes, or so", digestmod=hashlib.sha256)
    by_hand.update(f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body)
    assert post.headers["webhook-signature"] == f"v1,{base64.b64encode(by_hand.digest()).decode()}"


def test_the_study_uid_is_told_only_where_it_is_configured(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver, study_instance_uid=True)], {"when": "flagged"})
    flag(database, told, "1")
    step(database, told, 1)()
    assert json.loads(receiver.posts[0].body)["data"]["study_instance_uid"] == "2.25.1"


@pytest.mark.parametrize("answer", [500, 503, 404, 302, None], ids=str)
def test_what_failed_is_told_again_under_the_same_key(database: Database, receiver: Receiver, answer: int | None) -> None:
    receiver.answers = [answer]
    told = settings([hook(receiver)], {"when": "flagged"})
    flag(database, told, "1")
    assert step(database, told, 1)()
    waiting = Notices(database).list("hook", "PENDING")[0]
    assert waiting.next_attempt_at == at(1) + timedelta(seconds=Retry().first_seconds)
    assert waiting.last_error is not None
    assert not step(database, told, 5)(), "its time has not come"
    assert step(database, told, 12)()
    first, second = receiver.posts
    assert {post.path for post in receiver.posts} == {"/hook?from=qcnode"}, "no redirect is followed"
    assert first.body == second.body
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == second.headers["webhook-id"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"], "each attempt is signed with its own time"
    assert Notices(database).counts() == {"hook": {"SENT": 1}}


def test_what_the_receiver_refuses_or_never_takes_is_given_up(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "flagged"})
    receiver.answers = [410, 500]
    flag(database, told, "1")
    step(database, told, 1)()
    flag(database, told, "2", seconds=2)
    step(database, told, 7200, retry=Retry(give_up_hours=1))()
    assert [n.last_error for n in Notices(database).list("hook", "DEAD")] == ["hook: HTTP status 410", "hook: HTTP status 500"]


def test_a_kill_between_claim_and_settle_tells_again(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "flagged"})
    flag(database, told, "1")
    notices, channel = Notices(database), open_channel(told.channels[0])
    killed = notices.claim("hook", "before", at(1), timedelta(minutes=5), 1)
    channel.send(killed, at(1))  # the receiver has it, and the node dies before it knows
    assert not step(database, told, 2)(), "another worker has it"
    release_leases(database)
    assert step(database, told, 3)()
    with pytest.raises(LeaseLost):
        notices.sent(killed, at(4))
    assert len(receiver.posts) == 2
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
    assert len({post.body for post in receiver.posts}) == 1


def test_notices_are_part_of_the_transaction_that_settles(database: Database, receiver: Receiver) -> None:
    def fails(_: object) -> list[Any]:
        raise RuntimeError("killed")

    jobs = Jobs(database, fails)
    jobs.put_case(case("1", query="2.25.7"), at(0))
    claimed = jobs.claim("w", at(0), timedelta(seconds=9))
    assert claimed is not None
    with pytest.raises(RuntimeError):
        jobs.settle(claimed, result(claimed.case), EVERYTHING, at(0))
    assert Worklist(database).list(None) == []
    told = settings([hook(receiver)], {"when": "flagged"})
    again = Jobs(database, Rules(told))
    again.settle(claimed, result(claimed.case), EVERYTHING, at(1))
    again.settle(claimed, result(claimed.case), EVERYTHING, at(2))
    assert len(Notices(database).list()) == 1


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, ["1", "2", "3"]),
        ({"verdicts": ["FAIL"]}, ["1", "3"]),
        ({"scanners": ["Maker A"]}, ["1", "2"]),
        ({"segmenters": ["net"], "verdicts": ["FAIL"]}, ["3"]),
        ({"tasks": ["brats"]}, []),
        ({"institutions": ["General"]}, ["1", "2", "3"]),
        ({"institutions": ["Other"]}, []),
    ],
    ids=str,
)
def test_filters(database: Database, receiver: Receiver, rule: dict[str, object], told: list[str]) -> None:
    configured = settings([hook(receiver)], {"when": "flagged", **rule}, {"when": "flagged", **rule})
    flag(database, configured, "1", scanner="Maker A")
    flag(database, configured, "2", Verdict.REVIEW, scanner="Maker A")
    flag(database, configured, "3", scanner="Maker B", segmenter="net")
    flag(database, configured, "4", Verdict.PASS, blind=True)
    assert [notice.facts["data"]["case_id"] for notice in Notices(database).list()] == told


def test_a_final_decision_is_told_without_words_and_reader(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "decided"})
    flag(database, told, "1")
    worklist = Worklist(database, Rules(told))
    worklist.claim(1, "meyer", at(1), at(900))
    worklist.hold(1, "meyer", Judgement(Decision.REJECT, ("tissue missed",), "JANE has moved", 2), at(2), at(300))
    worklist.finalise_due(at(100))
    assert not Notices(database).list(), "it can still be undone"
    worklist.finalise_due(at(301))
    worklist.finalise_due(at(302))
    (notice,) = Notices(database).list()
    facts = notice.facts["data"]
    assert (facts["decision"], facts["rating"], facts["decision_reasons"]) == ("REJECT", 2, ["tissue missed"])
    assert not [word for word in (*FORBIDDEN, "meyer", "moved") if word in notice.content]


def test_a_delivery_that_is_given_up_is_told(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "given-up"})
    flag(database, told, "1")
    outbox = Outbox(database, Rules(told))
    delivery = outbox.claim("pacs", "w", at(1), timedelta(minutes=1))
    assert delivery is not None
    outbox.dead(delivery, "0122H", at(2))
    (notice,) = Notices(database).list()
    assert notice.facts["data"] == {"destination": "pacs", "kind": "error_map", "case_id": "1"}


def test_a_case_that_waits_too_long_is_told_once_a_day(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "oldest-open", "hours": 2}, {"when": "oldest-open", "hours": 100})
    put_item(database, "1")
    hour = 3600.0
    for hours, number in ((1, 0), (3, 1), (4, 1), (27, 2)):
        watch(database, told, hours * hour).look_at_oldest()
        assert len(Notices(database).list()) == number, hours
    assert Notices(database).list()[0].facts["data"] == {"item_id": 1, "hours": 3.0, "waiting": 1}


def test_a_delivery_that_is_open_for_too_long_is_told_once_a_day(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "oldest-delivery", "hours": 24}, {"when": "oldest-delivery", "hours": 1000})
    put_item(database, "1")
    outbox, hour = Outbox(database), 3600.0
    for hours, number in ((23, 0), (25, 1), (26, 1), (50, 2)):
        watch(database, told, hours * hour).look_at_deliveries(outbox, ())
        assert len(Notices(database).list()) == number, hours
    facts = Notices(database).list()[0].facts["data"]
    assert facts == {"destination": "pacs", "hours": 25.0, "waiting": 3}
    assert "Deliveries that have waited long: 1\n  pacs, has waited 25 hours" in body_of([(EventKind.OLDEST_DELIVERY, facts)])
    while (delivery := outbox.claim("pacs", "w", at(51 * hour), timedelta(minutes=1))) is not None:
        outbox.delivered(delivery, at(51 * hour))
    watch(database, told, 100 * hour).look_at_deliveries(outbox, {"pacs"})
    assert len(Notices(database).list()) == 2, "taken is enough there"


def test_drift_is_told_once(tmp_path: Path, receiver: Receiver) -> None:
    site = open_site(tmp_path / "site")
    fill(site, of_week=4)
    told = settings([hook(receiver)], {"when": "drift"})
    for _ in range(2):
        Watch(site.review, Notices(site.database), told, site.clock).look_for_drift()
    (notice,) = Notices(site.database).list()
    facts = notice.facts["data"]
    assert (facts["by"], facts["group"], facts["measure"]) == ("scanner", SCANNERS[0], "predicted_dsc")
    assert facts["after"] < facts["before"]
    body = body_of([(EventKind.DRIFT, facts)])
    assert "Drift of the predictions: 1\n  Scanner SIEMENS Aera, cardiac-sax: predicted DSC fell" in body


def test_nothing_is_looked_for_without_a_rule(database: Database, receiver: Receiver) -> None:
    put_item(database, "1")
    looking = watch(database, settings([hook(receiver)], {"when": "flagged"}), 1e6)
    looking.look_at_oldest()
    looking.look_for_drift()
    assert Notices(database).list() == []


def watch(database: Database, told: Notifications, now: float) -> Watch:
    return Watch(Review(Worklist(database), ReviewSettings()), Notices(database), told, lambda: at(now))


def test_one_mail_tells_of_many(database: Database, mailbox: MailReceiver) -> None:
    told = settings([post_office(mailbox, digest_minutes=30)], {"when": "flagged"}, worklist_url="https://qc.example.org")
    rules = Rules(told)
    for second in (*range(100), 1801):
        event = Event(EventKind.FLAGGED, f"case {second}", at(second), {"item_id": second, "verdict": "FAIL"})
        Notices(database).add(rules(event), at(second))
    assert not step(database, told, 1799)()
    assert step(database, told, 1800)()
    assert not step(database, told, 1801)()
    (mail,) = mailbox.mails
    text = mail.get_content()
    assert mail["Subject"] == "qcnode: 100 notices"
    assert "Cases that need a look: 100, 100 FAIL" in text
    assert text.count("https://qc.example.org/cases/") == 20
    assert "... and 80 more" in text
    assert not [word for word in FORBIDDEN if word in mail.as_string()]
    assert Notices(database).counts() == {"mail": {"SENT": 100, "PENDING": 1}}


def test_mail_travels_encrypted_after_a_password(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("MAIL_PASSWORD", "mail-password")
    with mail_receiver(certificate) as mailbox:
        secure = {"security": "starttls", "username": "qcnode", "password_env": "MAIL_PASSWORD", "digest_minutes": 0}
        told = settings([post_office(mailbox, **secure, ca_file=certificate)], {"when": "flagged"})
        distrusting = settings([post_office(mailbox, **secure)], {"when": "flagged"})
        flag(database, told, "1")
        step(database, distrusting, 1)()
        assert "SSLCertVerificationError" in str(Notices(database).list()[0].last_error)
        assert mailbox.logins == []
        step(database, told, 12)()
        assert mailbox.encrypted == [True]
        assert set(mailbox.logins) == {("qcnode", "mail-password")}


def test_mail_that_failed_is_sent_again(database: Database, mailbox: MailReceiver) -> None:
    told = settings([post_office(mailbox, digest_minutes=0)], {"when": "flagged"})
    mailbox.refusals = ["451 try DOE later"]
    flag(database, told, "1")
    step(database, told, 1)()
    assert Notices(database).list()[0].last_error == "mail: SMTPDataError 451"
    step(database, told, 12)()
    assert len(mailbox.mails) == 1


def test_a_receiver_that_is_away_holds_up_no_other(database: Database, receiver: Receiver, mailbox: MailReceiver) -> None:
    receiver.gone.set()
    away = hook(receiver, url="http://127.0.0.1:9/")
    told = settings([away, post_office(mailbox, digest_minutes=0)], {"when": "flagged"})
    flag(database, told, "1")
    step(database, told, 1, place=0)()
    step(database, told, 1, place=1)()
    assert Notices(database).counts() == {"hook": {"PENDING": 1}, "mail": {"SENT": 1}}


def test_doctor_sends_a_test(receiver: Receiver, mailbox: MailReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings([hook(receiver), post_office(mailbox)])
    channels = [open_channel(channel) for channel in told.channels]
    assert all(check.ok for channel in channels for check in channel.check(now=at(0), tell=False))
    assert (receiver.posts, mailbox.mails) == ([], [])
    assert all(check.ok for channel in channels for check in channel.check(now=at(0), tell=True))
    assert verified(SECRET, receiver.posts[0].headers, receiver.posts[0].body, at(0))["type"] == "test"
    assert mailbox.mails[0]["Subject"] == "qcnode: test"
    monkeypatch.delenv("HOOK_SECRET")
    (check,) = channels[0].check(now=at(0), tell=False)
    assert (check.ok, check.detail) == (False, "channel hook: environment variable HOOK_SECRET is not set")


def test_doctor_and_status_name_what_was_given_up(database: Database, receiver: Receiver) -> None:
    told = settings([hook(receiver)], {"when": "flagged"})
    receiver.answers = [410]
    flag(database, told, "1")
    step(database, told, 1)()
    node = {"storage": {"directory": database.directory, "minimum_free_mb": 1}, "tasks": {}, "notifications": told}
    config = Config.model_validate(node)
    found = {check.name: check for check in examine(config, notify=True)}
    assert found["hook"].detail == "webhook: took a test"
    assert (found["notices to hook"].ok, found["notices to hook"].detail) == (False, "1 given up, the last one for: hook: HTTP status 410")
    assert describe_state(config)["notices to hook"] == [("DEAD", 1)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rules": [{"when": "flagged", "channels": ["nobody"]}]},
        {"channels": [{"name": "a", "kind": "webhook", "url": "http://x/"}]},
        {"channels": [{"name": "a", "kind": "webhook", "url": "http://user:word@x/", "secret_env": "S"}]},
        {"channels": [{"name": "a", "kind": "webhook", "url": "ftp://x/", "secret_env": "S"}]},
        {"channels": [EMAIL | {"sender": "a@b\nBcc: c@d"}]},
        {"channels": [EMAIL | {"recipients": []}]},
        {"channels": [EMAIL | {"security": "none", "username": "u"}]},
        {"worklist_url": "javascript:alert(1)"},
    ],
    ids=str,
)
def test_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        Config.model_validate({"notifications": wrong})


def test_filters_that_can_not_apply_are_refused(receiver: Receiver) -> None:
    with pytest.raises(ValueError, match="only when flagged or decided"):
        settings([hook(receiver)], {"when": "drift", "scanners": ["A"]})
