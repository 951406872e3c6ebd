"""From the configuration of a destination to the destination, and to what it wants."""

from __future__ import annotations

from qcnode.config import Config, CStoreDestination, StowDestination
from qcnode.deliver.c_store import CStore
from qcnode.deliver.destination import Destination
from qcnode.deliver.request_commitment import StorageCommitment
from qcnode.deliver.stow_rs import StowRs


def open_destination(settings: CStoreDestination | StowDestination, ae_title: str) -> Destination:
    """The destination that `settings` describes; nothing is connected yet."""
    if isinstance(settings, CStoreDestination):
        return CStore(settings, ae_title)
    return StowRs(settings)


def open_commitment(settings: CStoreDestination | StowDestination, ae_title: str) -> StorageCommitment | None:
    """Storage Commitment of a destination; None where it is not configured."""
    if isinstance(settings, CStoreDestination) and settings.commitment:
        return StorageCommitment(settings, ae_title)
    return None


def unproven_by_choice(config: Config) -> frozenset[str]:
    """Destinations that are neither read back nor asked to commit: what they have taken counts as delivered."""
    return frozenset(
        d.name for d in config.destinations if d.read_back == "none" and not (isinstance(d, CStoreDestination) and d.commitment)
    )


def committing_destinations(config: Config) -> dict[str, frozenset[str]]:
    """AE title -> names of the destinations that are asked to commit under it."""
    found: dict[str, set[str]] = {}
    for destination in config.destinations:
        if isinstance(destination, CStoreDestination) and destination.commitment:
            found.setdefault(destination.ae_title, set()).add(destination.name)
    return {ae_title: frozenset(names) for ae_title, names in found.items()}


def wanted_kinds(settings: CStoreDestination | StowDestination) -> frozenset[str]:
    """Which result objects a destination gets; the report always."""
    switches = {
        "error_map": settings.error_map,
        "summary": settings.summary_image,
        "key_object": settings.key_object,
        "decision": settings.decision_report,
    }
    return frozenset({"report"} | {kind for kind, is_on in switches.items() if is_on})


def kinds_by_destination(config: Config) -> dict[str, frozenset[str]]:
    """Destination name -> which result objects it gets."""
    return {destination.name: wanted_kinds(destination) for destination in config.destinations}
