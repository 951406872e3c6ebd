"""Log lines on standard error, as text or as JSON lines. They hold UIDs, counts and codes, never patient data."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from datetime import UTC, datetime

from qcnode.config import Logging


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up_logging(settings: Logging) -> None:
    """Send qcnode's log to standard error; the libraries' own chatter only from WARNING on."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_JsonLines() if settings.json_lines else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(logging.WARNING)
    logging.getLogger("qcnode").setLevel(settings.level)
    # pynetdicom and pydicom write identifiers of peers and element values: their errors are reported by qcnode itself
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")  # pydicom's quote what they warn of, and are said to come from whichever module called it
