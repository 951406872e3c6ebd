"""Patient and study attributes of a settled result, brought up to what the archive says now."""

from __future__ import annotations

import os
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite

from qcnode.deliver.destination import STUDY_KEYWORDS
from qcnode.durable import flush

_UTF_8 = "ISO_IR 192"


def refreshed(path: Path, attributes: Dataset, target: Path) -> Path | None:
    """Write a copy of the result `path` to `target` with the archive's patient and study attributes; None where nothing differs.

    `attributes`: an answer to a C-FIND or QIDO-RS at study level, any character set. What it lacks, or holds empty, is left alone:
    an archive answers with an empty element for every key that it does not support. UIDs and content never change. The same input
    gives the same bytes, and they are on disk when this returns. Raises OSError, and ValueError where `attributes` are another study's.
    """
    dataset = dcmread(path)
    if attributes.get("StudyInstanceUID", dataset.StudyInstanceUID) != dataset.StudyInstanceUID:
        raise ValueError("the attributes belong to another study than the result")
    newer = {keyword: text for keyword in STUDY_KEYWORDS if (text := _text(attributes, keyword)) and text != _text(dataset, keyword)}
    if not newer:
        return None
    # what is not decoded now would be written back in its old bytes under the new character set
    dataset.decode()
    dataset.SpecificCharacterSet = _UTF_8
    for keyword, text in newer.items():
        setattr(dataset, keyword, text)
    _write_durably(dataset, target)
    return target


def _text(dataset: Dataset, keyword: str) -> str:
    """The value as text; trailing spaces and empty name components carry no meaning (PS3.5 sections 6.2 and 6.2.1)."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    text = str(value).rstrip(" \0")
    return text.rstrip("^=") if keyword.endswith("Name") else text


def _write_durably(dataset: Dataset, target: Path) -> None:
    unfinished = target.with_name(target.name + ".unfinished")
    with unfinished.open("wb") as stream:
        dcmwrite(stream, dataset, enforce_file_format=True)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(target)
    flush(target.parent)
