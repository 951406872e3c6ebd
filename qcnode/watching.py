"""Composition of what watches a node: its audit trail, and its figures and health."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from qcnode import __version__
from qcnode.audit_trail.events import NodeIdentity
from qcnode.audit_trail.step import POSITION_FILE, AuditTrailStep
from qcnode.audit_trail.syslog import SyslogSender
from qcnode.config import Config
from qcnode.dicom_listener import DicomListener
from qcnode.observe.health import Health
from qcnode.observe.metrics import Tally, Watched, make_registry
from qcnode.observe.server import MonitoringServer
from qcnode.store.audit import Audit
from qcnode.store.database import Database
from qcnode.store.new_rejections import NewRejections
from qcnode.store.trail import Trail
from qcnode.workers.worker import Worker


def open_audit_trail(config: Config, database: Database, now: Callable[[], datetime]) -> AuditTrailStep:
    """The step of the audit trail, which has begun with the start of the node. Raises ConfigurationError."""
    step = AuditTrailStep(
        settings=config.audit_log,
        me=NodeIdentity.of(config, os.getpid()),
        trail=Trail(database),
        audit=Audit(database),
        rejections=NewRejections(database),
        sender=SyslogSender(config.audit_log),
        position_file=config.storage.directory / POSITION_FILE,
        now=now,
    )
    step.start()
    return step


def start_monitoring(
    config: Config,
    database: Database,
    workers: Sequence[Worker],
    listeners: Mapping[str, DicomListener],
    answered: Tally,
    now: Callable[[], datetime],
) -> MonitoringServer:
    """Serve figures and health of a node. `answered`: the C-STORE responses. Raises ConfigurationError."""
    storage, settings = config.storage, config.monitoring

    def working() -> dict[str, bool]:
        return {worker.name: worker.is_well for worker in workers}

    def listening() -> dict[str, bool]:
        return {name: listener.is_listening for name, listener in listeners.items()}

    health = Health(database, working, listening, storage.minimum_free_mb * 2**20, timedelta(hours=settings.oldest_case_hours), now)
    registry = make_registry(Watched(database, storage.directory, answered, working, now, __version__))
    return MonitoringServer(settings, registry, health)
