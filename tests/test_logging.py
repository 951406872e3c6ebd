import json
import logging

import pytest

from qcnode.config import Logging
from qcnode.observe.logging import set_up_logging


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in ("qcnode", "pynetdicom", "pydicom"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_json_lines_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(Logging(json_lines=True))
    logging.getLogger("qcnode.test").info("case %s is done", "abc")
    line = json.loads(capsys.readouterr().err)
    assert line["message"] == "case abc is done"
    assert line["level"] == "INFO"


def test_libraries_that_log_element_values_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(Logging(level="DEBUG"))
    logging.getLogger("pydicom").warning("Invalid value for VR PN: 'DOE^JANE'")
    logging.getLogger("pynetdicom.acse").error("DOE^JANE")
    assert capsys.readouterr().err == ""
