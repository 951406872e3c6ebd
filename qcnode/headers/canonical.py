"""One form for all encodings of the same elements: what two objects are compared by.

Archives store objects in another transfer syntax or character set, pad values, write numbers otherwise and drop or add empty elements;
none of that is content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

Ignored = Callable[[DataElement], bool]

_LITTLE_ENDIAN_NATIVE = frozenset({uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian})


def transfer_syntax_of(dataset: Dataset) -> uid.UID:
    """Raises AttributeError where the data set has no file meta."""
    return uid.UID(str(dataset.file_meta.TransferSyntaxUID))


def canonical_elements(elements: Iterable[DataElement], *, ignored: Ignored) -> dict[int, Any]:
    """tag -> canonical value of every element that is not `ignored`, at any depth; empty ones are left out, as absent ones are."""
    found = ((int(element.tag), canonical_value(element, ignored=ignored)) for element in elements if not ignored(element))
    return {tag: value for tag, value in found if value is not None}


def canonical_value(element: DataElement, *, ignored: Ignored) -> Any:
    """A value that is equal wherever two encodings mean the same; None for an empty element, as for an absent one."""
    value = element.value
    if value is None or (hasattr(value, "__len__") and len(value) == 0):
        return None
    if element.VR == "SQ":
        return [canonical_elements(item, ignored=ignored) for item in value]
    if isinstance(value, bytes):
        return value
    values = value if isinstance(value, list | tuple) or hasattr(value, "insert") else [value]
    return [float(v) if element.VR in ("DS", "IS", "FL", "FD") and v != "" else str(v).strip() for v in values]


def pixel_bytes(dataset: Dataset, keyword: str) -> tuple[uid.UID, bytes]:
    """The bytes with the transfer syntax that they are encoded in; native words are brought into little endian order.

    Also of a BINARY SEG, whose bits DCMTK packs into swapped 16-bit words in big endian.
    """
    syntax, value = transfer_syntax_of(dataset), bytes(dataset[keyword].value)
    if syntax == uid.ExplicitVRBigEndian and dataset[keyword].VR == "OW" and dataset.BitsAllocated <= 16 and len(value) % 2 == 0:
        return uid.ExplicitVRLittleEndian, np.frombuffer(value, ">u2").astype("<u2").tobytes()
    return uid.ExplicitVRLittleEndian if syntax in _LITTLE_ENDIAN_NATIVE else syntax, value


def is_group_length(element: DataElement) -> bool:
    """Group lengths say how a group is encoded (PS3.5 section 7.2)."""
    return element.tag.element == 0
