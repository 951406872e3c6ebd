"""From the configuration of a destination to the destination, and to what it wants."""

from __future__ import annotations

from qcnode.config import Config, CStoreDestination, StowDestination
from qcnode.deliver.c_store import CStore
from qcnode.deliver.destination import Destination
from qcnode.deliver.stow_rs import StowRs


def open_destination(settings: CStoreDestination | StowDestination, ae_title: str) -> Destination:
    """The destination that `settings` describes; nothing is connected yet."""
    if isinstance(settings, CStoreDestination):
        return CStore(settings, ae_title)
    return StowRs(settings)


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
