"""The composition root: builds everything from the configuration, starts it in order, and stops it in the opposite one."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

from apscheduler.schedulers.background import BackgroundScheduler

from qcnode import __version__
from qcnode.clock import utc_now
from qcnode.config import Config
from qcnode.crew import Crew, Stores, gather_crew
from qcnode.decisions import DecisionReporting
from qcnode.deliver.opening import kinds_by_destination, unproven_by_choice
from qcnode.dicom_listener import DicomListener, Rejections
from qcnode.errors import ConfigurationError
from qcnode.ingest.back_pressure import BackPressure, Marks
from qcnode.ingest.storage_scp import start_storage_scp
from qcnode.notify.watch import Watch
from qcnode.observe.metrics import Tally
from qcnode.review import Review
from qcnode.schedule import reset_timers, set_quiet_timer, set_timers, set_watch_timers
from qcnode.store.backlog import measure_load
from qcnode.store.clock_steps import pull_back
from qcnode.store.database import Database, open_database
from qcnode.store.decision_reports import DecisionReports
from qcnode.store.leases import release_leases
from qcnode.store.locks import only_node
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.result_retention import ResultRetention
from qcnode.ups.scp import open_ups_worklist, start_ups_scp
from qcnode.watching import open_audit_trail, start_monitoring
from qcnode.web.server import WebServer, start_web
from qcnode.workers.finalise import FinaliseStep
from qcnode.workers.open_proving import report_keeper
from qcnode.workers.purge import PurgeStep
from qcnode.workers.worker import Worker

log = logging.getLogger(__name__)


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
        started.enter_context(only_node(config.storage.directory))
        database = open_database(config.storage.directory)
        started.callback(database.close)
        stores = Stores.of(config, database)
        recovery = stores.inbox.recover(utc_now())
        release_leases(database)
        if recovery.lost:
            log.error("%d acknowledged objects have lost their file", len(recovery.lost))
        scheduler = BackgroundScheduler(timezone=UTC)

        def clock_was_set_back(now: datetime) -> None:
            pull_back(database, now)
            reset_timers(scheduler, now)

        crew = gather_crew(config, stores, clock_was_set_back, self._audit_trail(started, database))
        self._set_timers(scheduler, crew, stores)
        started.callback(crew.stop)
        crew.start()
        scheduler.start()
        started.callback(scheduler.shutdown)
        self._listen(started, scheduler, crew, stores)

    def _audit_trail(self, started: ExitStack, database: Database) -> list[Worker]:
        if not self._config.audit_log.enabled:
            return []
        trail = open_audit_trail(self._config, database, utc_now)
        started.callback(trail.stop)
        return [Worker("audit trail", trail)]

    def _set_timers(self, scheduler: BackgroundScheduler, crew: Crew, stores: Stores) -> None:
        config, database = self._config, stores.database
        reporting = DecisionReporting(DecisionReports(database), kinds_by_destination(config), config.observers, __version__)
        no_proof = unproven_by_choice(config)
        retention = ResultRetention(database, no_proof)
        purge = PurgeStep(stores.inbox, retention, config.storage, config.matching, utc_now, stores.inbox.free_bytes)
        set_timers(scheduler, crew.match, FinaliseStep(stores.review, reporting.report, utc_now), purge)
        watch = Watch(stores.review, stores.notices, config.notifications, utc_now)
        set_watch_timers(scheduler, watch, partial(watch.look_at_deliveries, stores.outbox, no_proof))
        for study in stores.inbox.dirty_studies():
            quiet_at = study.last_received_at + timedelta(seconds=config.matching.quiet_seconds)
            set_quiet_timer(scheduler, crew.matching, study.study_instance_uid, max(quiet_at, utc_now()))

    def _listen(self, started: ExitStack, scheduler: BackgroundScheduler, crew: Crew, stores: Stores) -> None:
        """Open every port: the Storage SCP's first, for it is what the PACS waits for."""
        config, database = self._config, stores.database
        rejections = self._keep_rejections(started, scheduler, RejectedCallers(database))
        answered = Tally()
        listeners = {"listen": self._start_storage(started, scheduler, crew, stores, answered, rejections)}
        if config.ups.enabled:
            listeners["ups"] = self._start_ups(started, scheduler, database, stores.review, rejections)
        if config.monitoring.enabled:
            monitoring = start_monitoring(config, database, crew.workers, listeners, answered, utc_now)
            started.callback(monitoring.stop)
            self.monitoring_port = monitoring.port
            log.info("figures and health are at http://%s:%d/", config.monitoring.host, monitoring.port)
        if config.web.enabled:
            web = start_web(config, database, stores.review, utc_now, __version__)
            started.callback(web.stop)
            self._reloads.append(web.reload_certificate)
            self._web, self.web_port = web, web.port
            log.info("the worklist is at %s/", self._web_address(web.port))
        log.info("qcnode %s listens as %s on %s:%d", __version__, config.listen.ae_title, config.listen.host, self.port)

    def _start_storage(
        self,
        started: ExitStack,
        scheduler: BackgroundScheduler,
        crew: Crew,
        stores: Stores,
        answered: Tally,
        rejections: Rejections,
    ) -> DicomListener:
        config = self._config
        quiet = timedelta(seconds=config.matching.quiet_seconds)

        def on_stored(study_instance_uid: str) -> None:
            crew.matching.wake.set()
            set_quiet_timer(scheduler, crew.matching, study_instance_uid, utc_now() + quiet)

        listener = start_storage_scp(
            config.listen,
            stores.inbox,
            now=utc_now,
            on_stored=on_stored,
            back_pressure=BackPressure(Marks.of(config.listen, config.storage), partial(measure_load, stores.database)),
            on_report=report_keeper(config, stores.proofs, utc_now),
            on_answer=answered.add,
            rejections=rejections,
        )
        started.callback(listener.stop)
        self._reloads.append(listener.reload_certificates)
        self.port = listener.port
        return listener

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
