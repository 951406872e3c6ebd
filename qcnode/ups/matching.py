"""C-FIND by attributes (PS3.4 C.2.2.2): which steps an identifier matches, and what of them it asks for. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from fnmatch import translate

from pydicom import DataElement, Dataset
from pydicom.multival import MultiValue

_RANGED = ("DA", "DT")
_WILD = ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_NO_KEYS = frozenset({0x00080005})  # Specific Character Set says how the keys are written
_ZONE = r"[+-](?:0\d|1[0-4])[0-5]\d"
_MOMENT = re.compile(rf"(?P<digits>\d{{4}}(?:\d\d){{0,5}})(?:\.(?P<fraction>\d{{1,6}}))?(?P<zone>{_ZONE})?")
_RANGE = re.compile(rf"(?P<first>[\d.]+(?:{_ZONE})?)?-(?P<last>[\d.]+(?:{_ZONE})?)?")
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_UNITS = {3: "days", 4: "hours", 5: "minutes", 6: "seconds"}  # by how many parts of a moment are given


def matches(identifier: Dataset, candidate: Dataset) -> bool:
    """Every key of the identifier that has a value matches. Raises ValueError for a date or time that can not be read."""
    return all(_element_matches(key, candidate.get(key.tag)) for key in identifier if key.tag not in _NO_KEYS)


def answer(identifier: Dataset, candidate: Dataset) -> Dataset:
    """What the identifier asks for: each of its keys, with the candidate's value or, where it has none, empty."""
    found = Dataset()
    for key in identifier:
        value = candidate.get(key.tag)
        if value is None:
            found.add_new(key.tag, key.VR, [] if key.VR == "SQ" else None)
        elif key.VR == "SQ" and key.value and len(key.value[0]):
            found.add_new(key.tag, "SQ", [answer(key.value[0], item) for item in value.value])
        else:
            found.add(value)
    return found


def values_of(identifier: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a key, none where it matches everything."""
    return tuple(_texts(identifier.get(keyword)))


def _element_matches(key: DataElement, value: DataElement | None) -> bool:
    if key.VR == "SQ":
        candidates = value.value if value is not None and value.VR == "SQ" else []
        return not any(map(_has_values, key.value)) or any(matches(key.value[0], item) for item in candidates)
    wanted = _texts(key.value)
    present = _texts(value.value) if value is not None else []
    if wanted and key.VR in _RANGED:
        return any(_in_range(wanted[0], one) for one in present)
    return not wanted or any(_value_matches(key.VR, one, other) for one in wanted for other in present)


def _has_values(identifier: Dataset) -> bool:
    return any(any(map(_has_values, key.value)) if key.VR == "SQ" else _texts(key.value) for key in identifier)


def _value_matches(vr: str, wanted: str, present: str) -> bool:
    if vr == "PN":  # case does not matter, nor do components that are empty at the end
        wanted, present = (re.sub(r"[\^=]+$", "", text).casefold() for text in (wanted, present))
    if vr not in _WILD or not re.search(r"[*?]", wanted):
        return wanted == present
    pattern = translate(wanted.replace("[", "[[]"))  # only * and ? are wild in DICOM
    return re.fullmatch(pattern, present) is not None


def _in_range(wanted: str, present: str) -> bool:
    """A value, or "from-to" of which one may be missing. Each counts with all the time that its precision leaves open."""
    found = _RANGE.fullmatch(wanted)
    if _MOMENT.fullmatch(wanted):
        low, high = _span(wanted)
    elif found and (found["first"] or found["last"]):
        low = _span(found["first"])[0] if found["first"] else _EARLIEST
        high = _span(found["last"])[1] if found["last"] else _LATEST
    else:
        raise ValueError("no date, time or range of them")
    return low <= _span(present)[0] < high


def _span(text: str) -> tuple[datetime, datetime]:
    """From when to before when a DA or DT value lasts; without a zone it is local time. Raises ValueError."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        raise ValueError("no date and time")
    digits, fraction, zone = found["digits"], found["fraction"] or "", found["zone"]
    parts = [int(digits[:4]), *(int(digits[place : place + 2]) for place in range(4, len(digits), 2))]
    year, month, day, hour, minute, second = (*parts, *(1, 1, 1, 0, 0, 0)[len(parts) :])
    start = datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")))
    start = start.astimezone() if zone is None else start.replace(tzinfo=_timezone(zone))
    if fraction:
        return start, start + timedelta(microseconds=10 ** (6 - len(fraction)))
    if len(parts) == 1:
        return start, start.replace(year=year + 1)
    if len(parts) == 2:
        return start, start.replace(year=year + month // 12, month=month % 12 + 1)
    return start, start + timedelta(**{_UNITS[len(parts)]: 1})


def _timezone(zone: str) -> timezone:
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    return timezone(-offset if zone[0] == "-" else offset)


def _texts(value: object) -> list[str]:
    """The values of an element that are not empty, as text."""
    values = value if isinstance(value, (MultiValue, list, tuple)) else (value,)
    return [text for one in values if one is not None and (text := str(one).strip())]
