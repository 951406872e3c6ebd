"""Whatever bytes an element holds, its header is values that travel: through JSON, the database and comparisons."""

from __future__ import annotations

import json
import math
import warnings
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from qcnode.case import InstanceHeader
from qcnode.errors import Rejected
from qcnode.headers import header_of
from qcnode.headers.elements import integer, number, text, vector
from qcnode.ingest.storage_scp import HeadError, read_head

CHARACTER_SETS = ["", "ISO_IR 100", "ISO_IR 192", "GB18030", "\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "ISO_IR 999", "ISO_IR 13", "\\\\"]
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

values = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.floats().map(lambda f: str(f).encode()),
    st.lists(st.integers(), max_size=7).map(lambda v: "\\".join(map(str, v)).encode()),
    st.sampled_from([b"\xed\xa0\x80", b"\x1b$B", b"nan", b"1e400", b"\\", b"\0", b"9" * 5000]),
)


def _element(tag: int, vr: str, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return tag.to_bytes(4, "big")[1::-1] + tag.to_bytes(4, "big")[3:1:-1] + vr.encode() + len(value).to_bytes(2, "little") + value


def _read(elements: dict[int, tuple[str, bytes]], character_set: str = "") -> Dataset:
    whole = {0x00080005: ("CS", character_set.encode()), 0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.4"), 0x00080018: ("UI", b"1.2")}
    whole |= {0x00280010: ("US", b"\x04\0"), 0x00280011: ("US", b"\x04\0"), **elements}
    encoded = b"".join(_element(tag, vr, value) for tag, (vr, value) in sorted(whole.items()))
    return read_dataset(BytesIO(encoded), is_implicit_VR=False, is_little_endian=True)


@QUICK
@pytest.mark.filterwarnings("ignore")
@given(position=values, spacing=values, orientation=values, series=values, time=values, character_set=st.sampled_from(CHARACTER_SETS))
def test_a_header_survives_json(
    position: bytes, spacing: bytes, orientation: bytes, series: bytes, time: bytes, character_set: str
) -> None:
    elements = {0x00200032: ("DS", position), 0x00280030: ("DS", spacing), 0x00200037: ("DS", orientation)}
    elements |= {0x0008103E: ("LO", series), 0x00181060: ("DS", time), 0x00080008: ("CS", series), 0x00200013: ("IS", time)}
    adapter = TypeAdapter(InstanceHeader)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = header_of(_read(elements, character_set))
    assert adapter.validate_json(json.dumps(adapter.dump_python(header))) == header
    header.series_description.encode("utf-8")
    (frame,) = header.frames
    for numbers in (frame.image_position, frame.pixel_spacing, frame.image_orientation):
        assert numbers is None or all(map(math.isfinite, numbers))
    assert frame.pixel_spacing is None or min(frame.pixel_spacing) > 0


@QUICK
@given(value=values, vr=st.sampled_from(["PN", "LO", "DS", "IS", "UI", "US", "FD", "SQ", "DA", "UT", "AT"]))
def test_any_element_is_read_or_absent(value: bytes, vr: str) -> None:
    element = _element(0x00100010, vr, value)
    if vr in ("SQ", "UT"):
        element = element[:6] + b"\0\0" + len(value + b" " * (len(value) % 2)).to_bytes(4, "little") + element[8:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = read_dataset(BytesIO(element), is_implicit_VR=False, is_little_endian=True)
        text(dataset, "PatientName").encode("utf-8")
        found = number(dataset, "PatientName")
        assert found is None or math.isfinite(found)
        integer(dataset, "PatientName")
        assert vector(dataset, "PatientName", 3) is None or vr in ("DS", "IS", "US", "FD", "LO", "UT", "UI", "AT", "PN", "DA")


@QUICK
@given(content=st.binary(max_size=400), syntax=st.sampled_from(sorted(uid.AllTransferSyntaxes)))
def test_the_head_of_anything_is_uids_or_refused(content: bytes, syntax: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            head = read_head(content, uid.UID(syntax))
        except (HeadError, Rejected):
            return
    assert set(head.sop_instance_uid) <= set("0123456789.")
