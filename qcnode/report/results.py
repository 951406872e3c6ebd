"""All results of one case as files.

report.dcm, error_map.dcm, summary.dcm, key_object.dcm where a case is announced; preview.png, and viewer/ for the case page.
"""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset

from qcnode.case import ResultObject
from qcnode.durable import write_durably
from qcnode.errors import Rejected
from qcnode.report.inputs import ReportInputs
from qcnode.report.previews import draw_preview
from qcnode.report.viewer import write_viewer
from qcnode.report.write_key_object import write_key_object
from qcnode.report.write_seg import write_error_map
from qcnode.report.write_sr import write_report
from qcnode.report.write_summary import write_summary

PREVIEW_NAME = "preview.png"


def write_results(inputs: ReportInputs, directory: Path, *, announce: bool = False) -> tuple[ResultObject, ...]:
    """Write every result of a case into `directory`, which is there and empty, and flush each file to the disk.

    The error map is left out where none was predicted, it is empty, or the images have no frame of reference. The same inputs give the same
    bytes. announce: a case that a person should look at gets a key object too. Raises OSError where the disk fails.
    """
    error_map = _error_map_or_none(inputs)
    page = draw_preview(inputs)
    report = write_report(inputs, error_map)
    made = {"report": report, "error_map": error_map, "summary": write_summary(inputs, page)}
    if announce and inputs.assessment.verdict.needs_review:
        made["key_object"] = write_key_object(inputs, report)
    objects = tuple(write_object(kind, result, directory / f"{kind}.dcm") for kind, result in made.items() if result is not None)
    write_durably(directory / PREVIEW_NAME, _png(page))
    write_viewer(inputs, directory)
    return objects


def _error_map_or_none(inputs: ReportInputs) -> Dataset | None:
    """The numbers stand without their picture, so images without a frame of reference cost the error map only."""
    try:
        return write_error_map(inputs)
    except Rejected:
        return None


def write_object(kind: str, result: Dataset, path: Path) -> ResultObject:
    """Write one result to `path` and flush it to the disk. Raises OSError."""
    buffer = BytesIO()
    result.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    write_durably(path, content)
    return ResultObject(kind, str(result.SOPClassUID), str(result.SOPInstanceUID), path, sha256(content).hexdigest())


def _png(page: npt.NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    return buffer.getvalue()
