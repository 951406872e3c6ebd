"""`qcnode status`: where everything stands."""

from __future__ import annotations

from qcnode.clock import utc_now
from qcnode.config import Config
from qcnode.deliver.opening import unproven_by_choice
from qcnode.ingest.back_pressure import Cause, Marks
from qcnode.store.backlog import Load, measure_load
from qcnode.store.database import open_database
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.notices import Notices
from qcnode.store.outbox import OpenDeliveries, Outbox
from qcnode.store.worklist import Worklist


def describe_state(config: Config) -> dict[str, list[tuple[str, object]]]:
    """What `qcnode status` shows: a title and rows (name, figure) for each part of the road."""
    database = open_database(config.storage.directory)
    jobs = Jobs(database)
    received = Inbox(database, config.storage.directory, 0).counts()
    counts = jobs.counts()
    state: dict[str, list[tuple[str, object]]] = {
        "received": [
            *received.by_kind.items(),
            ("conflicting", received.conflicting),
            ("purged", received.purged),
            ("MB", received.bytes // 2**20),
        ],
        "back-pressure": _back_pressure(Marks.of(config.listen, config.storage), measure_load(database)),
        "segmentations": list(counts.queries.items()),
        "waiting": [(q.sop_instance_uid, f"{q.reason.code}: {q.reason.text}" if q.reason else "") for q in jobs.queries("WAITING")],
        "cases": list(counts.cases.items()),
        "verdicts": list(counts.verdicts.items()),
        "worklist": list(Worklist(database).counts().items()),
    }
    outbox = Outbox(database)
    waiting = outbox.open_deliveries(unproven_by_choice(config))
    for destination, deliveries in outbox.counts().items():
        state[f"delivery to {destination}"] = [*deliveries.items(), *_age(waiting.get(destination), config)]
    for channel, told in Notices(database).counts().items():
        state[f"notices to {channel}"] = list(told.items())
    database.close()
    return state


def _age(waiting: OpenDeliveries | None, config: Config) -> list[tuple[str, object]]:
    """How long the oldest delivery that is not proven has been open."""
    if waiting is None:
        return []
    hours = (utc_now() - waiting.oldest).total_seconds() / 3600
    return [("oldest open, hours", f"{hours:.1f}{' ALARM' if hours > config.retry.alarm_hours else ''}")]


def _back_pressure(marks: Marks, load: Load) -> list[tuple[str, object]]:
    """Whether objects are taken, and each figure that decides it with its marks. What a running node has just met is in its log."""
    causes = marks.causes(load)
    lingering = marks.causes(load, frozenset(Cause)) - causes
    taken = "yes" if not causes else f"no: {', '.join(sorted(causes))}"
    if lingering and not causes:
        taken = f"yes, unless they were refused before ({', '.join(sorted(lingering))} is not yet back at its lower mark)"
    free_mb = load.free_bytes // 2**20
    return [
        ("objects are taken", taken),
        ("MB free", f"{free_mb} (refused below {marks.minimum_free_mb:g}, taken again from {marks.resume_free_mb:g} on)"),
        ("unindexed", f"{load.unindexed_objects} (refused above {marks.maximum_objects}, taken again at {marks.resume_objects:g})"),
        ("cases waiting", f"{load.waiting_cases} (refused above {marks.maximum_cases}, taken again at {marks.resume_cases:g})"),
    ]
