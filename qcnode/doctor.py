"""`qcnode doctor`: is everything there that the node needs? Each finding says what to do."""

from __future__ import annotations

import math
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from qcnode.assess.inference import QCPredictor
from qcnode.assess.model_card import ReviewFacts
from qcnode.clock import utc_now
from qcnode.config import Config, Task
from qcnode.config.parts import secret_files
from qcnode.deliver.destination import Check
from qcnode.deliver.opening import open_destination, unproven_by_choice
from qcnode.edge import check_edge
from qcnode.errors import QCNodeError
from qcnode.notify.step import open_channel
from qcnode.store.database import Database, open_database
from qcnode.store.notices import Notices
from qcnode.store.outbox import Outbox
from qcnode.store.result_retention import ResultRetention
from qcnode.tasks import load_tasks


def examine(config: Config, *, notify: bool = False) -> Iterator[Check]:
    """Check storage, database, weights and their terms, device, every destination and channel, one finding at a time.

    notify: every channel of notifications is told of a test.
    """
    yield _storage(config)
    yield from _privacy(config)
    try:
        database = open_database(config.storage.directory)
    except (OSError, sqlite3.Error, QCNodeError) as error:
        advice = "restore the database from a backup, or move it away to begin with an empty one"
        yield Check("database", False, str(error), advice)
        database = None
    else:
        yield Check("database", True, "opens, schema is current", "")
    try:
        yield from _examine(config, database, notify)
    finally:
        if database is not None:
            database.close()


def _examine(config: Config, database: Database | None, notify: bool) -> Iterator[Check]:
    """The rest; without a database nothing is said of what it would tell."""
    if database is not None:
        yield _retention(config, database)
    for name, task in config.tasks.items():
        if task.enabled:
            yield from _weights(config, name, task)
    yield from check_edge(config, utc_now())
    for settings in config.destinations:
        try:
            yield from open_destination(settings, config.listen.ae_title).check()
        except QCNodeError as error:
            yield Check(settings.name, False, str(error), "correct the destination in config.yaml")
    if database is not None:
        yield from _undelivered(config, database)
    if not config.destinations:
        yield Check("destinations", True, "none: results are kept, nothing is sent", "add a destination to config.yaml to answer a PACS")
    for channel in config.notifications.channels:
        yield from open_channel(channel).check(now=utc_now(), tell=notify)
        if database is not None:
            yield from _given_up(database, channel.name)


def _storage(config: Config) -> Check:
    directory = config.storage.directory
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = directory / ".doctor"
        probe.write_bytes(b"qcnode")
        probe.unlink()
    except OSError as error:
        return Check("disk", False, f"{directory}: {error.strerror}", "make storage.directory writable for the account that runs qcnode")
    free_mb = shutil.disk_usage(directory).free // 2**20
    needed = config.storage.minimum_free_mb
    return Check(
        "disk", free_mb > needed, f"{directory}: {free_mb} MB free, {needed} MB kept free", "free the disk, or move storage.directory"
    )


def _privacy(config: Config) -> Iterator[Check]:
    """Whether other accounts of the machine can read what is of patients, or a secret."""
    directory = config.storage.directory
    if directory.exists():
        found = f"{directory}, mode {stat.S_IMODE(directory.stat().st_mode):04o}"
        yield Check("privacy", not _is_open_to_all(directory), found, f"it holds patient data: chmod o= {directory}")
    for file in secret_files(config):
        if file.exists() and _is_open_to_all(file):
            yield Check("secrets", False, f"{file} can be read by every account of this machine", f"chmod o= {file}")


def _is_open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IRWXO)


def _retention(config: Config, database: Database) -> Check:
    """How long things are kept, and whether purging keeps the disk free enough."""
    storage = config.storage
    days = storage.keep_results_days
    counts = ResultRetention(database, unproven_by_choice(config)).counts(utc_now() - timedelta(days=days or 0))
    kept = f"results {'for good' if days is None else f'{days:g} days'}, images {storage.keep_images_days:g} days"
    found = f"{kept}, unmatched {storage.keep_unmatched_days:g} days; {counts.purged} results purged"
    if days is not None and counts.held:
        found += f", {counts.held} older ones still needed: not delivered everywhere, or not decided about"
    enough = shutil.disk_usage(storage.directory).free >= storage.purged_until_mb * 2**20
    advice = f"below {storage.purged_until_mb:g} MB free all that has served is purged: make room, or deliver and decide what is needed"
    return Check("retention", enough, found, "" if enough else advice)


def _given_up(database: Database, channel: str) -> Iterator[Check]:
    """Notices that were never told; nothing is said where there are none."""
    dead = Notices(database).list(channel, "DEAD")
    if dead:
        advice = "correct the channel; the worklist shows what was not told"
        yield Check(f"notices to {channel}", False, f"{len(dead)} given up, the last one for: {dead[-1].last_error}", advice)


def _undelivered(config: Config, database: Database) -> Iterator[Check]:
    """What did not arrive, and what waits for too long; nothing is said where all is well."""
    outbox = Outbox(database)
    counts, waiting = outbox.counts(), outbox.open_deliveries(unproven_by_choice(config))
    for destination, states in counts.items():
        name = f"deliveries to {destination}"
        if dead := states.get("DEAD", 0):
            yield Check(name, False, f"{dead} given up", f"qcnode outbox list --destination {destination} --state dead says why")
        if unproven := states.get("UNPROVEN", 0):
            advice = "see destinations[].read_back; once that is right: qcnode outbox retry --state unproven"
            yield Check(name, False, f"{unproven} taken, and not proven: the destination can not be asked", advice)
        since = waiting[destination].oldest if destination in waiting else utc_now()
        if (hours := (utc_now() - since).total_seconds() / 3600) > config.retry.alarm_hours:
            advice = f"qcnode outbox list --destination {destination} says what it is"
            yield Check(name, False, f"the oldest is open for {hours:.0f} h, more than retry.alarm_hours", advice)


def _weights(config: Config, name: str, task: Task) -> Iterator[Check]:
    subject = f"weights {name}"
    try:
        judged = load_tasks(config.model_copy(update={"tasks": {name: task}}))[name]
        predictor = QCPredictor(judged.directory, device=config.inference.device, threads=config.inference.threads)
    except QCNodeError as error:
        yield Check(subject, False, str(error), "install the weights again, or correct tasks in config.yaml")
        return
    card = judged.card
    yield Check(subject, True, f"{card.name} {card.version}, digest verified, {judged.directory}", "")
    yield Check(f"terms {name}", True, card.training.terms, "")
    if card.reviews is not None:
        yield _threshold(name, task, card.reviews)
    yield Check(f"device {name}", True, predictor.device, "")


def _threshold(name: str, task: Task, reviews: ReviewFacts) -> Check:
    """Weights that were calibrated to readers' decisions are meant for the threshold that was found."""
    key, value = f"tasks.{name}.predicted_dsc.value", task.predicted_dsc.value
    found = f"{reviews.decisions} decisions about {reviews.patients} patients ask for {key} {reviews.threshold:g}; it is {value:g}"
    fits = math.isclose(value, reviews.threshold)
    return Check(f"threshold {name}", fits, found, f"set {key} to {reviews.threshold:g}: the review point holds for that value alone")
