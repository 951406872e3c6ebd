"""`qcnode doctor`: is everything there that the node needs? Each finding says what to do."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Iterator
from datetime import timedelta

from qcnode.assess.model_card import ReviewFacts
from qcnode.clock import utc_now
from qcnode.config import Config, Task
from qcnode.deliver.destination import Check
from qcnode.deliver.opening import open_destination, proving_destinations
from qcnode.errors import QCNodeError
from qcnode.notify.step import open_channel
from qcnode.store.database import open_database
from qcnode.store.notices import Notices
from qcnode.store.result_retention import ResultRetention
from qcnode.tasks import load_tasks, weights_directory


def examine(config: Config, *, notify: bool = False) -> Iterator[Check]:
    """Check storage, database, weights and their terms, device, every destination and channel, one finding at a time.

    notify: every channel of notifications is told of a test.
    """
    yield _storage(config)
    yield _database(config)
    yield from _retention(config)
    for name, task in config.tasks.items():
        if task.enabled:
            yield from _weights(config, name, task)
    for settings in config.destinations:
        try:
            yield from open_destination(settings, config.listen.ae_title).check()
        except QCNodeError as error:
            yield Check(settings.name, False, str(error), "correct the destination in config.yaml")
    if not config.destinations:
        yield Check("destinations", True, "none: results are kept, nothing is sent", "add a destination to config.yaml to answer a PACS")
    for channel in config.notifications.channels:
        yield from open_channel(channel).check(now=utc_now(), tell=notify)
        yield from _given_up(config, channel.name)


def _storage(config: Config) -> Check:
    directory = config.storage.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
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


def _database(config: Config) -> Check:
    try:
        open_database(config.storage.directory).close()
    except (OSError, sqlite3.Error, QCNodeError) as error:
        return Check("database", False, str(error), "restore the database from a backup, or move it away to begin with an empty one")
    return Check("database", True, "opens, schema is current", "")


def _retention(config: Config) -> Iterator[Check]:
    """How long things are kept, and whether purging keeps the disk free enough; nothing is said where the database can not be opened."""
    storage = config.storage
    days = storage.keep_results_days
    try:
        database = open_database(storage.directory)
    except (OSError, sqlite3.Error, QCNodeError):
        return  # said already
    counts = ResultRetention(database, proving_destinations(config)).counts(utc_now() - timedelta(days=days or 0))
    database.close()
    kept = f"results {'for good' if days is None else f'{days:g} days'}, images {storage.keep_images_days:g} days"
    found = f"{kept}, unmatched {storage.keep_unmatched_days:g} days; {counts.purged} results purged"
    if days is not None and counts.held:
        found += f", {counts.held} older ones still needed: not delivered everywhere, or not decided about"
    enough = shutil.disk_usage(storage.directory).free >= storage.purged_until_mb * 2**20
    advice = f"below {storage.purged_until_mb:g} MB free all that has served is purged: make room, or deliver and decide what is needed"
    yield Check("retention", enough, found, "" if enough else advice)


def _given_up(config: Config, channel: str) -> Iterator[Check]:
    """Notices that were never told; nothing is said where there are none."""
    try:
        database = open_database(config.storage.directory)
    except (OSError, sqlite3.Error, QCNodeError):
        return  # said already
    dead = Notices(database).list(channel, "DEAD")
    database.close()
    if dead:
        advice = "correct the channel; the worklist shows what was not told"
        yield Check(f"notices to {channel}", False, f"{len(dead)} given up, the last one for: {dead[-1].last_error}", advice)


def _weights(config: Config, name: str, task: Task) -> Iterator[Check]:
    subject = f"weights {name}"
    try:
        judged = load_tasks(config.model_copy(update={"tasks": {name: task}}))[name]
    except QCNodeError as error:
        yield Check(subject, False, str(error), "install the weights again, or correct tasks in config.yaml")
        return
    card = judged.judge.predictor.card
    yield Check(subject, True, f"{card.name} {card.version}, digest verified, {weights_directory(task.weights)}", "")
    yield Check(f"terms {name}", True, card.training.terms, "")
    if card.reviews is not None:
        yield _threshold(name, task, card.reviews)
    yield Check(f"device {name}", True, judged.judge.predictor.device, "")


def _threshold(name: str, task: Task, reviews: ReviewFacts) -> Check:
    """Weights that were calibrated to readers' decisions are meant for the threshold that was found."""
    key, value = f"tasks.{name}.predicted_dsc.value", task.predicted_dsc.value
    found = f"{reviews.decisions} decisions about {reviews.patients} patients ask for {key} {reviews.threshold:g}; it is {value:g}"
    fits = math.isclose(value, reviews.threshold)
    return Check(f"threshold {name}", fits, found, f"set {key} to {reviews.threshold:g}: the review point holds for that value alone")
