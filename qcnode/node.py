"""The composition root: builds everything from the configuration, starts it in order, and stops it in the opposite one."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial

from apscheduler.schedulers.background import BackgroundScheduler

from qcnode import __version__
from qcnode.case import Verdict
from qcnode.clock import utc_now
from qcnode.config import Config, ReviewSettings
from qcnode.decisions import DecisionReporting
from qcnode.deliver.opening import kinds_by_destination, open_destination, unproven_by_choice
from qcnode.dicom_listener import DicomListener, Rejections
from qcnode.errors import ConfigurationError
from qcnode.ingest.back_pressure import BackPressure, Marks
from qcnode.ingest.matching import TaskRule
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.judging.opening import open_comparison, open_judge
from qcnode.judging.process import ComparingProcess, JudgingProcess
from qcnode.notify.rules import Rules
from qcnode.notify.step import NotifyStep, open_channel
from qcnode.notify.watch import Watch
from qcnode.observe.metrics import Tally
from qcnode.review import Review
from qcnode.sampling import Sampling
from qcnode.schedule import open_schedule, reset_timers, set_quiet_timer
from qcnode.store.backlog import measure_load
from qcnode.store.clock_steps import pull_back
from qcnode.store.database import Database, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.inbox import Inbox
from qcnode.store.jobs import Jobs
from qcnode.store.leases import release_leases
from qcnode.store.node_lock import only_node
from qcnode.store.notices import Notices
from qcnode.store.outbox import Outbox
from qcnode.store.proofs import Proofs
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.result_retention import ResultRetention
from qcnode.store.worklist import Worklist
from qcnode.tasks import load_tasks
from qcnode.ups.scp import open_ups_worklist, start_ups_scp
from qcnode.watching import open_audit_trail, start_monitoring
from qcnode.web.server import WebServer, start_web
from qcnode.workers.assess import AssessStep
from qcnode.workers.clock import ClockStep
from qcnode.workers.deliver import DeliverStep
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.guard import Guard
from qcnode.workers.match import MatchStep
from qcnode.workers.open_proving import open_proving, report_keeper
from qcnode.workers.purge import PurgeStep
from qcnode.workers.worker import LEASE, Worker

log = logging.getLogger(__name__)

LONGEST_COMPARISON_SECONDS = 120.0
"""Two files that take longer to compare are taken to be different."""
ROOM_FOR_A_RESULT = 64 * 2**20
"""Bytes that must be free before a case is judged: its result files, and the database's own growth."""


def _sampling(review: ReviewSettings) -> Sampling:
    second, blind_share = review.second_reader, review.random_blind_share
    return Sampling(
        pass_share=review.random_pass_share,
        blind_share=review.random_pass_share if blind_share is None else blind_share,
        second_share=second.share,
        second_verdicts=frozenset(Verdict(verdict) for verdict in second.verdicts),
        second_tasks=frozenset(second.tasks),
    )


class Node:
    """Listener, workers, delivery and scheduler of one storage directory, which it holds alone while it runs."""

    def __init__(self, config: Config) -> None:
        """Raises ConfigurationError where weights, storage or another key can not work."""
        self._config = config
        self._running = ExitStack()
        self._ended = threading.Event()
        self.port = config.listen.port
        self.web_port: int | None = None
        self.ups_port: int | None = None
        self.monitoring_port: int | None = None
        self._web: WebServer | None = None
        self._reloads: list[Callable[[], None]] = []

    def start(self) -> None:
        """Recover what a crash left, then listen and work. Raises ConfigurationError."""
        with ExitStack() as started:
            self._start(started)
            self._running = started.pop_all()

    def stop(self) -> None:
        """Stop listening, let every worker end its step, close the database."""
        self._running.close()

    def sign_in_address(self, account: str) -> str | None:
        """An address that signs `account` in to the worklist, once and within two minutes: not for logs. None without a web server."""
        if self._web is None:
            return None
        return f"{self._web_address(self._web.port)}{self._web.sign_in_path(account)}"

    def reload_certificates(self) -> None:
        """Show renewed certificates to who comes next; those that can not be used are told in the log, and the old ones stay."""
        for reload in self._reloads:
            try:
                reload()
            except ConfigurationError as error:
                log.error("the certificate stays as it was: %s", error)
        log.info("certificates are read again")

    def run_until_signal(self) -> None:
        """`qcnode serve`: start, wait for SIGTERM or SIGINT, stop. SIGHUP reads the certificates again."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._ended.set())
        signal.signal(signal.SIGHUP, lambda *_: self.reload_certificates())
        self.start()
        self._ended.wait()
        log.info("ending")
        self.stop()

    def _start(self, started: ExitStack) -> None:
        config = self._config
        directory = config.storage.directory
        started.enter_context(only_node(directory))
        database = open_database(directory)
        started.callback(database.close)
        inbox = Inbox(database, directory, config.storage.minimum_free_mb * 2**20)
        recovery = inbox.recover(utc_now())
        release_leases(database)
        if recovery.lost:
            log.error("%d acknowledged objects have lost their file", len(recovery.lost))
        rules = [task.rule for task in load_tasks(config).values()]
        judge = JudgingProcess(
            partial(open_judge, config), deadline_seconds=config.inference.deadline_seconds, memory_mb=config.inference.memory_mb
        )
        compare = ComparingProcess(partial(open_comparison, config.logging), deadline_seconds=LONGEST_COMPARISON_SECONDS)
        announce = Rules(config.notifications)
        match, workers = self._workers(Jobs(database, announce), Outbox(database, announce), inbox, rules, judge, compare)
        workers += self._notifying(Notices(database))
        if config.audit_log.enabled:
            trail = open_audit_trail(config, database, utc_now)
            started.callback(trail.stop)
            workers.append(Worker("audit trail", trail))
        review = Review(Worklist(database, announce), config.review)
        reporting = DecisionReporting(DecisionReports(database), kinds_by_destination(config), config.observers, __version__)
        no_proof = unproven_by_choice(config)
        purge = PurgeStep(inbox, ResultRetention(database, no_proof), config.storage, config.matching, utc_now, inbox.free_bytes)
        scheduler = open_schedule(config, match, workers[0], inbox, FinaliseStep(review, reporting.report, utc_now), purge)
        watch = Watch(review, Notices(database), config.notifications, utc_now)
        scheduler.add_job(watch.look_at_oldest, "interval", minutes=5, id="oldest", max_instances=1, coalesce=True)
        on_deliveries = partial(watch.look_at_deliveries, Outbox(database), no_proof)
        scheduler.add_job(on_deliveries, "interval", minutes=5, id="deliveries", max_instances=1, coalesce=True)
        scheduler.add_job(watch.look_for_drift, "interval", hours=6, id="drift", max_instances=1, coalesce=True)

        def clock_was_set_back(now: datetime) -> None:
            pull_back(database, now)
            reset_timers(scheduler, now)

        proofs = Proofs(database, announce)
        workers += open_proving(config, proofs, f"{os.getpid()}", utc_now)
        workers.append(Worker("clock", ClockStep(utc_now, time.monotonic, clock_was_set_back)))
        for worker in workers:
            worker.start()
            started.callback(worker.join)
        for process in (judge, compare):
            started.callback(process.stop)
        for worker in workers:
            started.callback(worker.stop)
        scheduler.start()
        started.callback(scheduler.shutdown)

        def on_stored(study_instance_uid: str) -> None:
            workers[0].wake.set()
            set_quiet_timer(scheduler, workers[0], study_instance_uid, utc_now() + timedelta(seconds=config.matching.quiet_seconds))

        answered = Tally()
        back_pressure = BackPressure(Marks.of(config.listen, config.storage), partial(measure_load, database))
        rejections = self._keep_rejections(started, scheduler, RejectedCallers(database))
        listener = start_storage_scp(
            config.listen,
            inbox,
            now=utc_now,
            on_stored=on_stored,
            back_pressure=back_pressure,
            on_report=report_keeper(config, proofs, utc_now),
            on_answer=answered.add,
            rejections=rejections,
        )
        started.callback(listener.stop)
        self._reloads.append(listener.reload_certificates)
        self.port = listener.port
        listeners = {"listen": listener}
        if config.ups.enabled:
            listeners["ups"] = self._start_ups(started, scheduler, database, review, rejections)
        if config.monitoring.enabled:
            monitoring = start_monitoring(config, database, workers, listeners, answered, utc_now)
            started.callback(monitoring.stop)
            self.monitoring_port = monitoring.port
            log.info("figures and health are at http://%s:%d/", config.monitoring.host, monitoring.port)
        if config.web.enabled:
            web = start_web(config, database, review, utc_now, __version__)
            started.callback(web.stop)
            self._reloads.append(web.reload_certificate)
            self._web, self.web_port = web, web.port
            log.info("the worklist is at %s/", self._web_address(web.port))
        log.info("qcnode %s listens as %s on %s:%d", __version__, config.listen.ae_title, config.listen.host, self.port)

    def _web_address(self, port: int) -> str:
        return f"{'https' if self._config.web.tls.is_on else 'http'}://{self._config.web.host}:{port}"

    def _keep_rejections(self, started: ExitStack, scheduler: BackgroundScheduler, kept: RejectedCallers) -> Rejections:
        """Who is turned away is counted in memory, and written down now and then, and at the end."""
        rejections = Rejections(utc_now)
        write = partial(rejections.hand_over, kept.add)
        scheduler.add_job(write, "interval", seconds=10, id="rejections", max_instances=1, coalesce=True)
        started.callback(write)
        return rejections

    def _start_ups(
        self, started: ExitStack, scheduler: BackgroundScheduler, database: Database, review: Review, rejections: Rejections
    ) -> DicomListener:
        settings = self._config.ups
        worklist = open_ups_worklist(self._config, database, review, utc_now)
        timing = {"seconds": 15, "next_run_time": utc_now(), "misfire_grace_time": None}
        scheduler.add_job(worklist.follow, "interval", id="ups", max_instances=1, coalesce=True, **timing)
        listener = start_ups_scp(settings, worklist, rejections)
        started.callback(listener.stop)
        self._reloads.append(listener.reload_certificates)
        self.ups_port = listener.port
        log.info("the worklist listens for workstations as %s on %s:%d", settings.ae_title, settings.host, listener.port)
        return listener

    def _workers(
        self, jobs: Jobs, outbox: Outbox, inbox: Inbox, rules: list[TaskRule], judge: JudgingProcess, compare: ComparingProcess
    ) -> tuple[MatchStep, list[Worker]]:
        """The matching step, and the workers: matching first, then assessing, then one per destination."""
        config = self._config
        owner = f"{os.getpid()}"
        destinations = {d.name: open_destination(d, config.listen.ae_title) for d in config.destinations}
        delivering = [
            Worker(
                f"deliver {d.name}",
                DeliverStep(
                    outbox,
                    destinations[d.name],
                    d.refresh_attributes,
                    config.storage.directory / "outbox" / d.name,
                    config.retry,
                    owner,
                    utc_now,
                ),
            )
            for d in config.destinations
        ]

        def wake_delivery() -> None:
            for worker in delivering:
                worker.wake.set()

        lease = timedelta(seconds=config.inference.deadline_seconds) + LEASE
        assessing = Worker(
            "assess",
            AssessStep(
                jobs=jobs,
                judge=judge,
                results=config.storage.directory / "results",
                wanted_kinds=kinds_by_destination(config),
                owner=owner,
                now=utc_now,
                on_result=wake_delivery,
                sampling=_sampling(config.review),
                has_room=lambda: inbox.free_bytes() > ROOM_FOR_A_RESULT,
                guard=Guard(inbox, utc_now),
                lease=lease,
            ),
            lease=lease,
        )
        match = MatchStep(
            inbox=inbox,
            jobs=jobs,
            rules=rules,
            settings=config.matching,
            archive=destinations[config.matching.archive] if config.matching.archive else None,
            now=utc_now,
            on_case=assessing.wake.set,
            compare=compare,
        )
        return match, [Worker("match", match), assessing, *delivering]

    def _notifying(self, notices: Notices) -> list[Worker]:
        """One worker per channel: a receiver that is away holds up neither another one nor the road."""
        config, owner = self._config, f"{os.getpid()}"
        channels = [open_channel(settings) for settings in config.notifications.channels]
        return [Worker(f"notify {c.name}", NotifyStep(notices, c, config.retry, owner, utc_now)) for c in channels]
