"""The timers of a node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

from qcnode.clock import utc_now
from qcnode.config import Config
from qcnode.store.inbox import Inbox
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.match import MatchStep
from qcnode.workers.purge import PurgeStep
from qcnode.workers.worker import Worker


def open_schedule(
    config: Config, match: MatchStep, matching: Worker, inbox: Inbox, finalise: FinaliseStep, purge: PurgeStep
) -> BackgroundScheduler:
    """Timers: the quiet time of each study, queries whose images never come, decisions that become final, purging."""
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(match.match_overdue, "interval", minutes=1, id="overdue", max_instances=1, coalesce=True)
    # at once, too: what a crash left waits no longer
    timing = {"seconds": 15, "next_run_time": utc_now(), "misfire_grace_time": None}
    scheduler.add_job(finalise, "interval", id="finalise", max_instances=1, coalesce=True, **timing)
    scheduler.add_job(purge, "interval", minutes=5, id="purge", max_instances=1, coalesce=True)
    for study in inbox.dirty_studies():
        quiet_at = study.last_received_at + timedelta(seconds=config.matching.quiet_seconds)
        set_quiet_timer(scheduler, matching, study.study_instance_uid, max(quiet_at, utc_now()))
    return scheduler


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
