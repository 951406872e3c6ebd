"""All checks in their order, and the second look that tells a difference from a node at work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from qcnode.audit.archives import ArchiveLook
from qcnode.audit.cases import check_case, check_queries, check_result_directories
from qcnode.audit.deliveries import check_deliveries
from qcnode.audit.files import FileProofs
from qcnode.audit.findings import Finding
from qcnode.audit.objects import check_objects
from qcnode.config import Config
from qcnode.deliver.opening import kinds_by_destination, open_destination, unproven_by_choice
from qcnode.store.database import open_for_reading
from qcnode.store.ledger import Ledger

PAUSES_SECONDS = (1.0, 5.0)
"""Before each further look. Between a commit and a file's removal, or a file's renaming and its commit, lie moments."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What differs, how much was looked at, and what the node still has to do: that is no finding.

    uncompared: destination -> why what it holds was not compared.
    """

    findings: tuple[Finding, ...]
    objects: int
    cases: int
    under_way: dict[str, int]
    uncompared: dict[str, str]

    def as_lines(self) -> list[str]:
        """For people: a line for each finding, one for what is under way, and one that sums up."""
        lines = [f"{finding.code} {finding.subject}: {finding.detail} → {finding.code.advice}" for finding in self.findings]
        if self.under_way:
            lines.append(f"under way: {', '.join(f'{number} {name}' for name, number in self.under_way.items())}")
        lines += [f"not compared with what the destination holds: {name}, {why}" for name, why in self.uncompared.items()]
        outcome = f"{len(self.findings)} findings" if self.findings else "nothing differs"
        return [*lines, f"{self.objects} objects, {self.cases} cases: {outcome}"]

    def as_json(self) -> str:
        """For programs: the same as one JSON object."""
        findings = [asdict(finding) | {"advice": finding.code.advice} for finding in self.findings]
        return json.dumps(asdict(self) | {"findings": findings}, indent=2)


def audit(
    config: Config,
    *,
    offline: bool = False,
    pauses_seconds: tuple[float, ...] = PAUSES_SECONDS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> AuditReport:
    """Hold the database against the disk and the destinations. Nothing is written, and the node may run meanwhile.

    offline: no destination is asked. What differs is looked at again after each of the pauses, and counts if it still does. on_progress:
    objects looked at, and how many there are, as far as is known. Raises ConfigurationError where no database can be read, OSError where
    the disk fails.
    """
    database = open_for_reading(config.storage.directory)
    try:
        ledger, done = Ledger(database), 0
        objects, cases, deliveries = ledger.number_of_objects(), ledger.number_of_cases(), ledger.number_of_deliveries()

        def on_object() -> None:
            nonlocal done
            done += 1
            on_progress(done, max(done, objects + 3 * cases + deliveries))

        proofs = FileProofs(on_object)
        destinations = {} if offline else {d.name: open_destination(d, config.listen.ae_title) for d in config.destinations}
        archives = ArchiveLook(destinations, ledger, on_object)
        with ExitStack() as open_ones:
            for destination in destinations.values():
                open_ones.enter_context(destination.kept_open())
            found = dict.fromkeys(_look(config, ledger, proofs, archives))
            for pause in pauses_seconds:
                if found:
                    time.sleep(pause)
                    archives.silent.clear()
                    again = set(_look(config, ledger, proofs, archives))
                    found = dict.fromkeys(finding for finding in found if finding in again)
        return AuditReport(tuple(found), objects, cases, ledger.under_way(unproven_by_choice(config)), archives.uncompared)
    finally:
        database.close()


def _look(config: Config, ledger: Ledger, proofs: FileProofs, archives: ArchiveLook) -> Iterator[Finding]:
    directory = config.storage.directory.absolute()
    yield from check_objects(ledger, directory, proofs)
    yield from check_queries(ledger)
    wanted_kinds, since, settled = kinds_by_destination(config), ledger.deliveries_since(), set()
    for batch in ledger.cases():
        for case in batch:
            yield from check_case(case, proofs)
            yield from check_deliveries(case, wanted_kinds, since, proofs)
            yield from archives.check(case)
            if case.directory is not None:
                settled.add(case.directory)
    yield from check_result_directories(ledger, directory / "results", settled)
