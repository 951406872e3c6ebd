"""Single DICOM elements, read tolerantly: what is missing, empty or badly written is absent, never an exception.

Peers send elements with a wrong VR, too many values or text where a number belongs (PS3.5 forbids it, PACS are full of it). Whoever
needs an element decides what its absence means.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

# What pydicom raises, by experience, when it converts the raw bytes of a broken element.
BROKEN_ELEMENT = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    MemoryError,  # a length or a matrix that no memory holds
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)

_NOTHING = Dataset()


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, bytes) or value == "":
            return []
        if isinstance(value, MultiValue | list | tuple):
            return list(value)
        return [value]
    except BROKEN_ELEMENT:
        return []


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except BROKEN_ELEMENT:
        return None
    return number if math.isfinite(number) else None


def text(dataset: Dataset, keyword: str) -> str:
    """The element's first value as stripped text, "" where absent."""
    found = texts(dataset, keyword)
    return found[0] if found else ""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """All values of the element as stripped text."""
    try:
        return tuple(str(value).strip(" \0") for value in _values(dataset, keyword))
    except BROKEN_ELEMENT:
        return ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The element's first value as a finite number, None where there is none."""
    values = _values(dataset, keyword)
    return _float(values[0]) if values else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """The element's first value as a whole number, None where there is none."""
    value = number(dataset, keyword)
    return int(value) if value is not None and value == int(value) else None


def vector(dataset: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    """The element as exactly `length` finite numbers, or None."""
    numbers = [_float(value) for value in _values(dataset, keyword)]
    finite = tuple(value for value in numbers if value is not None)
    return finite if len(numbers) == len(finite) == length else None


def binary(dataset: Dataset, keyword: str) -> bytes:
    """The element's bytes as stored, b"" where absent."""
    try:
        value = dataset.get(keyword)
    except BROKEN_ELEMENT:
        return b""
    return value if isinstance(value, bytes) else b""


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence, [] where it is absent or no sequence."""
    return [item for item in _values_of_sequence(dataset, keyword) if isinstance(item, Dataset)]


def first_item(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence, or an empty data set, which is not to be written to."""
    found = items(dataset, keyword)
    return found[0] if found else _NOTHING


def _values_of_sequence(dataset: Dataset, keyword: str) -> Iterable[Any]:
    try:
        value = dataset.get(keyword)
        return list(value) if value is not None and not isinstance(value, str | bytes) else []
    except BROKEN_ELEMENT:
        return []


def code(dataset: Dataset, keyword: str) -> tuple[str, str, str] | None:
    """The first code of a code sequence as (value, scheme designator, meaning); None where incomplete (PS3.3, table 8.8-1)."""
    codes = all_codes(dataset, keyword)
    return codes[0] if codes else None


def all_codes(dataset: Dataset, keyword: str) -> tuple[tuple[str, str, str], ...]:
    """Every complete code of a code sequence."""
    found = []
    for item in items(dataset, keyword):
        value = text(item, "CodeValue") or text(item, "LongCodeValue") or text(item, "URNCodeValue")
        scheme = text(item, "CodingSchemeDesignator")
        if value and (scheme or text(item, "URNCodeValue")):
            found.append((value, scheme, text(item, "CodeMeaning")))
    return tuple(found)
