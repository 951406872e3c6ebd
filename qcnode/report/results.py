"""All results of one case as files: report.dcm, error_map.dcm, summary.dcm, preview.png."""

from __future__ import annotations

import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset

from qcnode.case import ResultObject
from qcnode.errors import Rejected
from qcnode.report.inputs import ReportInputs
from qcnode.report.previews import draw_preview
from qcnode.report.write_seg import write_error_map
from qcnode.report.write_sr import write_report
from qcnode.report.write_summary import write_summary

PREVIEW_NAME = "preview.png"


def write_results(inputs: ReportInputs, directory: Path) -> tuple[ResultObject, ...]:
    """Write every result of a case into `directory`, which is there and empty, and flush each file to the disk.

    The error map is left out where none was predicted, it is empty, or the images have no frame of reference. The same inputs give the same
    bytes. Raises OSError where the disk fails.
    """
    error_map = _error_map_or_none(inputs)
    page = draw_preview(inputs)
    made = {"report": write_report(inputs, error_map), "error_map": error_map, "summary": write_summary(inputs, page)}
    objects = tuple(_write(kind, result, directory) for kind, result in made.items() if result is not None)
    _write_durably(directory / PREVIEW_NAME, _png(page))
    return objects


def _error_map_or_none(inputs: ReportInputs) -> Dataset | None:
    """The numbers stand without their picture, so images without a frame of reference cost the error map only."""
    try:
        return write_error_map(inputs)
    except Rejected:
        return None


def _write(kind: str, result: Dataset, directory: Path) -> ResultObject:
    buffer = BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    path = directory / f"{kind}.dcm"
    _write_durably(path, content)
    return ResultObject(kind, str(result.SOPClassUID), str(result.SOPInstanceUID), path, sha256(content).hexdigest())


def _png(page: npt.NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return buffer.getvalue()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
