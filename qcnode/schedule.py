"""The timers of a node."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from apscheduler.schedulers.background import BackgroundScheduler

from qcnode.clock import utc_now
from qcnode.notify.watch import Watch
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.match import MatchStep
from qcnode.workers.purge import PurgeStep
from qcnode.workers.worker import Worker


def set_timers(scheduler: BackgroundScheduler, match: MatchStep, finalise: FinaliseStep, purge: PurgeStep) -> None:
    """Queries whose images never come, decisions that become final, purging."""
    scheduler.add_job(match.match_overdue, "interval", minutes=1, id="overdue", max_instances=1, coalesce=True)
    # at once, too: what a crash left waits no longer
    timing = {"seconds": 15, "next_run_time": utc_now(), "misfire_grace_time": None}
    scheduler.add_job(finalise, "interval", id="finalise", max_instances=1, coalesce=True, **timing)
    scheduler.add_job(purge, "interval", minutes=5, id="purge", max_instances=1, coalesce=True)


def set_watch_timers(scheduler: BackgroundScheduler, watch: Watch, look_at_deliveries: Callable[[], object]) -> None:
    """What somebody is to be told of because nothing happens: old items, old deliveries, drift."""
    scheduler.add_job(watch.look_at_oldest, "interval", minutes=5, id="oldest", max_instances=1, coalesce=True)
    scheduler.add_job(look_at_deliveries, "interval", minutes=5, id="deliveries", max_instances=1, coalesce=True)
    scheduler.add_job(watch.look_for_drift, "interval", hours=6, id="drift", max_instances=1, coalesce=True)


def set_quiet_timer(scheduler: BackgroundScheduler, matching: Worker, study_instance_uid: str, at: datetime) -> None:
    """Wake matching when nothing of the study came for the quiet time; each arrival sets the timer anew."""
    scheduler.add_job(
        matching.wake.set, "date", run_date=at, id=f"quiet {study_instance_uid}", replace_existing=True, misfire_grace_time=None
    )


def reset_timers(scheduler: BackgroundScheduler, now: datetime) -> None:
    """The clock was set back: timers, which are planned by it, must not wait until it has caught up."""
    for job in scheduler.get_jobs():
        if job.next_run_time is not None:
            job.modify(next_run_time=now)
