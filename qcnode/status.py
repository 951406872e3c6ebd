"""`qcnode status`: where everything stands."""

from __future__ import annotations

from qcnode.clock import utc_now
from qcnode.config import Config
from qcnode.deliver.opening import unproven_by_choice
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
        "received": [*received.by_kind.items(), ("conflicting", received.conflicting), ("MB", received.bytes // 2**20)],
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
