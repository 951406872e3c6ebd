"""Log lines on standard error, as text or as JSON lines. They hold UIDs, counts and codes, never patient data.

The texts of exceptions are left out, whoever logs them: a library's may quote what it was reading.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import traceback
import warnings
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from qcnode.config import Logging
from qcnode.log_fields import noted

log = logging.getLogger(__name__)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Text(logging.Formatter):
    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802  a method of the base class
        return _places(ei)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "event": getattr(record, "event", None) or str(record.msg),  # else the text without its values: the same for all of a kind
            "message": record.getMessage(),
            **noted(),
        }
        if record.exc_info:
            line["exception"] = _places(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(settings: Logging) -> None:
    """Send qcnode's log to standard error; the libraries' own chatter only from WARNING on."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_JsonLines() if settings.json_lines else _Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(logging.WARNING)
    logging.getLogger("qcnode").setLevel(settings.level)
    # pynetdicom and pydicom write identifiers of peers and element values: their errors are reported by qcnode itself
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")  # pydicom's quote what they warn of, and are said to come from whichever module called it
    threading.excepthook = _log_uncaught


def _log_uncaught(uncaught: threading.ExceptHookArgs) -> None:
    """A thread of a library that ends with an exception: Python itself would print its text."""
    name = uncaught.thread.name if uncaught.thread else "thread"
    places = traceback.extract_tb(uncaught.exc_traceback)[-3:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(places))
    log.error("%s ended: %s at %s", name, uncaught.exc_type.__name__, where, extra={"event": "thread-ended"})


def _places(ei: _ExcInfo) -> str:
    """Types and places of an exception and of what caused it, without their texts."""
    lines, error = [], ei[1]
    while error is not None:
        lines.append(type(error).__name__)
        lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(lines)
