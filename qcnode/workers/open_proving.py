"""From the configuration to what proves deliveries: a worker for each destination, and the keeper of what archives report."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from qcnode.commitment import CommitmentReport
from qcnode.config import Config, CStoreDestination
from qcnode.deliver.opening import committing_destinations, open_commitment, open_destination, unproven_by_choice
from qcnode.store.proofs import Proofs
from qcnode.workers.prove import ProveStep
from qcnode.workers.worker import Clock, Worker


def open_proving(config: Config, proofs: Proofs, owner: str, now: Clock) -> list[Worker]:
    """One worker per destination that is asked for proof, beside the one that delivers: a slow look holds up no delivery."""
    own_title, no_proof = config.listen.ae_title, unproven_by_choice(config)
    return [
        Worker(
            f"prove {d.name}",
            ProveStep(
                proofs=proofs,
                destination=open_destination(d, own_title),
                reads_back=d.read_back != "none",
                commitment=open_commitment(d, own_title),
                commitment_time=timedelta(hours=d.commitment_hours if isinstance(d, CStoreDestination) else 0),
                retry=config.retry,
                owner=owner,
                now=now,
            ),
        )
        for d in config.destinations
        if d.name not in no_proof
    ]


def report_keeper(config: Config, proofs: Proofs, now: Clock) -> Callable[[str, CommitmentReport], bool] | None:
    """Keeps reports of Storage Commitment from the AE titles that are asked for it; None where nobody is asked."""
    names = committing_destinations(config)
    if not names:
        return None
    return lambda ae_title, report: proofs.report(names.get(ae_title, frozenset()), report, now())
