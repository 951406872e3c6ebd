"""Does a SEG replace an earlier one of the same study?

A wrong yes hides a worklist item, a wrong no leaves one too many: in doubt, no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qcnode.case import InstanceHeader


@dataclass(frozen=True, slots=True)
class Drawing:
    """A SEG, the task and structures it was claimed for, and the planes (SOP Instance UID, frame number) of the stack it was drawn on."""

    query: InstanceHeader
    task: str
    structures: frozenset[str]
    plane_keys: frozenset[tuple[str, int]]


def corrected_query(drawing: Drawing, drawings: Sequence[Drawing]) -> str | None:
    """SOP Instance UID of the SEG that `drawing` corrects, or None. A SEG corrects another one if

    - it names it as its predecessor (Predecessor Documents Sequence), whatever the times say; or
    - it was made later (Instance Creation, else Content Date and Time), drawn on the same stack for the same task, holds at least the
      same structures, and comes either in the same series with the same segments, or from the same equipment (manufacturer and model)
      under the same series description.

    So segmentations of two makers, of two phases, of one structure each, or two named outputs of one product do not correct one another.
    Of several that it corrects, the latest is named. What names this SEG as its predecessor is not corrected by it.
    """
    uid = drawing.query.sop_instance_uid
    others = [other for other in drawings if other.query.sop_instance_uid != uid and uid not in other.query.predecessor_uids]
    successors = {other.query.sop_instance_uid for other in drawings if uid in other.query.predecessor_uids}
    if predecessors := [named for named in drawing.query.predecessor_uids if named not in successors]:
        at_hand = [named for named in predecessors if any(other.query.sop_instance_uid == named for other in others)]
        return (at_hand or predecessors)[0]
    earlier = [other for other in others if _is_replaced_by(other, drawing)]
    latest = max(earlier, key=lambda other: (_moment(other.query), other.query.sop_instance_uid), default=None)
    return latest.query.sop_instance_uid if latest else None


def _is_replaced_by(old: Drawing, new: Drawing) -> bool:
    if not _moment(old.query)[0] or _moment(old.query) >= _moment(new.query):
        return False
    if not old.plane_keys or old.plane_keys != new.plane_keys or old.task != new.task or not old.structures <= new.structures:
        return False
    if old.query.series_instance_uid == new.query.series_instance_uid:
        return _segments(old.query) == _segments(new.query)
    return _equipment(old.query) == _equipment(new.query) and bool(old.query.manufacturer and old.query.device_model)


def _moment(header: InstanceHeader) -> tuple[str, str]:
    """Date and time, and the fraction of a second, comparable as text whatever was left out at the end."""
    whole, _, fraction = header.content_datetime.partition(".")
    return (whole.ljust(14, "0") if whole else "", fraction)


def _segments(header: InstanceHeader) -> frozenset[tuple[str, tuple[str, ...]]]:
    return frozenset((segment.label.lower(), (segment.property_type or ())[:2]) for segment in header.segments)


def _equipment(header: InstanceHeader) -> tuple[str, ...]:
    return tuple(value.strip().lower() for value in (header.manufacturer, header.device_model, header.series_description))
