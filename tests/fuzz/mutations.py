"""The ways in which an object is broken. Each takes a random generator and a file, and returns other bytes."""

from __future__ import annotations

import random
import re
import struct
import zlib
from collections.abc import Callable

from part10 import (
    UNDEFINED,
    Spot,
    dataset_start,
    element_bytes,
    nested,
    raw_deflate,
    spots,
    with_length,
    with_value,
    with_vr,
)
from pydicom import uid
from pydicom.datadict import tag_for_keyword

Mutation = Callable[[random.Random, bytes], bytes]

VRS = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW"),
    *("PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV", "ZZ"),
)
DECISIVE = (
    "Rows Columns NumberOfFrames BitsAllocated BitsStored HighBit PixelRepresentation SamplesPerPixel PixelData PixelSpacing "
    "ImagePositionPatient ImageOrientationPatient SliceThickness SpacingBetweenSlices RescaleSlope RescaleIntercept SegmentNumber "
    "ReferencedSegmentNumber ReferencedFrameNumber ReferencedSOPInstanceUID ReferencedSOPClassUID DimensionIndexValues "
    "FrameOfReferenceUID SOPInstanceUID SOPClassUID StudyInstanceUID SeriesInstanceUID SegmentationType MaximumFractionalValue "
    "SpecificCharacterSet ImageType TriggerTime EchoTime InstanceNumber CodeValue CodingSchemeDesignator CodeMeaning SegmentLabel "
    "TrackingUID TrackingID ContentDate ContentTime PatientName PatientID PatientBirthDate StudyDate AccessionNumber SeriesDescription "
    "ManufacturerModelName SoftwareVersions SegmentAlgorithmName Modality PhotometricInterpretation WindowCenter WindowWidth"
)
_DECISIVE_TAGS = frozenset(tag_for_keyword(keyword) for keyword in DECISIVE.split())
_LONGEST_TEXT = 65534

TEXTS = (
    b"",
    b" ",
    b"\0\0",
    b"\\\\\\",
    b"\\" * 200,
    b"A" * 17,
    b"A" * 65,
    b"A" * 1025,
    b"A" * _LONGEST_TEXT,
    b"\xff\xfe\xfd\xfc",
    b"\xed\xa0\x80\xed\xb0\x80",  # surrogates as UTF-8
    b"\x1b$B\x1b(J\x1b$)C",  # character set escapes without characters
    b"\x1b" * 9,
    b"\xc3",
    b"PHANTOM\r\n\x07\x1b[31m",
    b"<script>alert(1)</script>",
    b"'; DROP TABLE object; --",
    b"../../../../tmp/x",
    b"%s%n%x{0}",
)
NUMBERS = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e400",
    b"1e308",
    b"-1e308",
    b"1e38",
    b"1e-320",
    b"0",
    b"-0",
    b"-1",
    b"1",
    b"2",
    b"1.5",
    b"1,5",
    b"0x10",
    b"65535",
    b"65536",
    b"2147483647",
    b"-2147483648",
    b"4294967296",
    b"9" * 40,
    b"9" * 5000,
    b"text",
    b"",
    b"1\\2\\3\\4\\5\\6\\7",
    b"0\\0",
    b"0\\0\\0\\0\\0\\0",
    b"nan\\nan\\nan",
    b"1e9\\1e9\\1e9",
    b"1\\0\\0\\1\\0\\0",
    b"2\\0\\0\\0\\1\\0",
    b"1e-9\\1e-9",
    b"1e9\\1e9",
    b"\\\\",
)
UIDS = (
    b"",
    b"0",
    b"1",
    b".",
    b"...",
    b"1..2",
    b"1.2.",
    b".1.2",
    b"01.02.003",
    b"1.2.abc",
    b"../../x",
    b"/etc/passwd",
    b"1.2.3\0",
    b"1.2.3\\1.2.4",
    b"1.2 .3",
    b"1." * 32 + b"1",
    b"1." * 400 + b"1",
    b"\xff" * 8,
)
CHARACTER_SETS = (
    b"ISO_IR 999",
    b"\\ISO 2022 IR 87",
    b"GB18030",
    b"ISO_IR 192",
    b"ISO 2022 IR 149\\ISO 2022 IR 100",
    b"utf-8",
    b"",
    b"\\" * 30,
)
SYNTAXES = (
    *(str(syntax) for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian)),
    *(str(syntax) for syntax in (uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEGBaseline8Bit, uid.JPEGLosslessSV1)),
    *(str(syntax) for syntax in (uid.JPEGExtended12Bit, uid.HTJ2KLossless, uid.MPEG2MPML)),
    "1.2.840.10008.1.2.1.98",  # Encapsulated Uncompressed
    "1.2.840.113619.5.2",  # GE, private
    "1.2.3.4",
    "../../x",
    "",
)


def flip_bits(draw: random.Random, part10: bytes) -> bytes:
    broken = bytearray(part10)
    for _ in range(draw.choice((1, 1, 2, 4, 16, 64))):
        broken[draw.randrange(132 if draw.random() < 0.9 else 0, len(broken))] ^= 1 << draw.randrange(8)
    return bytes(broken)


def random_bytes(draw: random.Random, part10: bytes) -> bytes:
    at = draw.randrange(132, len(part10))
    length = draw.choice((1, 2, 4, 8, 64, 512))
    return part10[:at] + draw.randbytes(length) + part10[at + length :]


def truncate(draw: random.Random, part10: bytes) -> bytes:
    found = spots(part10)
    if found and draw.random() < 0.5:
        spot = draw.choice(found)
        return part10[: draw.choice((spot.start, spot.start + 4, spot.value_start - 2, spot.value_start, max(spot.end - 1, 0)))]
    return part10[: draw.randrange(len(part10))]


def append(draw: random.Random, part10: bytes) -> bytes:
    return part10 + draw.choice((b"\0" * 8, draw.randbytes(100), part10, part10[dataset_start(part10) :], b"\xfe\xff\xdd\xe0\0\0\0\0" * 5))


def cut_out(draw: random.Random, part10: bytes) -> bytes:
    at = draw.randrange(132, len(part10))
    return part10[:at] + part10[at + draw.randrange(1, 400) :]


def repeat(draw: random.Random, part10: bytes) -> bytes:
    at = draw.randrange(132, len(part10))
    chunk = part10[at : at + draw.randrange(1, 400)]
    return part10[:at] + chunk * draw.choice((2, 3, 50)) + part10[at + len(chunk) :]


def wrong_length(draw: random.Random, part10: bytes) -> bytes:
    spot = _spot(draw, part10)
    if spot is None:
        return flip_bits(draw, part10)
    true = 0 if spot.length == UNDEFINED else spot.length
    lengths = (UNDEFINED, 0xFFFFFFFE, 0x7FFFFFFF, 0xFFFF, 0, 1, true + 1, true + 2, max(true - 1, 0), true * 2, draw.randrange(2**32))
    return with_length(part10, spot, draw.choice(lengths))


def wrong_item_length(draw: random.Random, part10: bytes) -> bytes:
    """The length of an item, a fragment or a delimiter (FFFE,E0xx)."""
    marks = [match.start() for match in re.finditer(rb"\xfe\xff[\x00\x0d\xdd]\xe0", part10)]
    if not marks:
        return wrong_length(draw, part10)
    at = draw.choice(marks)
    length = draw.choice((0, 1, 7, 8, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, UNDEFINED, draw.randrange(2**32)))
    return part10[: at + 4] + struct.pack("<I", length) + part10[at + 8 :]


def wrong_vr(draw: random.Random, part10: bytes) -> bytes:
    spot = _spot(draw, part10)
    return flip_bits(draw, part10) if spot is None else with_vr(part10, spot, draw.choice((*(v.encode() for v in VRS), draw.randbytes(2))))


def other_vr(draw: random.Random, part10: bytes) -> bytes:
    """The value under another VR, with a length that fits it."""
    spot = _spot(draw, part10)
    if spot is None or spot.length == UNDEFINED:
        return wrong_vr(draw, part10)
    return with_value(part10, spot, part10[spot.value_start : spot.end], draw.choice(VRS))


def wrong_value(draw: random.Random, part10: bytes) -> bytes:
    spot = _spot(draw, part10)
    if spot is None or spot.length == UNDEFINED:
        return random_bytes(draw, part10)
    return with_value(part10, spot, _hostile(draw, spot))


def wrong_values(draw: random.Random, part10: bytes) -> bytes:
    for _ in range(draw.choice((2, 3, 8))):
        try:
            part10 = wrong_value(draw, part10)
        except Exception:  # noqa: BLE001  what is broken already can not be read to be broken further
            return part10
    return part10


def wrong_character_set(draw: random.Random, part10: bytes) -> bytes:
    found = [spot for spot in spots(part10) if spot.vr in ("PN", "LO", "SH", "CS", "UT", "ST", "LT") and spot.length != UNDEFINED]
    if not found:
        return random_bytes(draw, part10)
    for spot in sorted(draw.sample(found, min(5, len(found))), key=lambda s: -s.start):
        value = draw.choice(CHARACTER_SETS) if int(spot.tag) == 0x00080005 else draw.choice(TEXTS[:13]) + draw.randbytes(6)
        part10 = with_value(part10, spot, value[:_LONGEST_TEXT])
    return part10


def remove_elements(draw: random.Random, part10: bytes) -> bytes:
    found = [spot for spot in spots(part10) if spot.length != UNDEFINED]
    if not found:
        return cut_out(draw, part10)
    decisive = [spot for spot in found if int(spot.tag) in _DECISIVE_TAGS] or found
    chosen = draw.choice((found, decisive))
    for spot in sorted(draw.sample(chosen, min(draw.choice((1, 1, 2, 6)), len(chosen))), key=lambda s: -s.start):
        part10 = part10[: spot.start] + part10[spot.end :]
    return part10


def duplicate_elements(draw: random.Random, part10: bytes) -> bytes:
    spot = _spot(draw, part10)
    if spot is None or spot.length == UNDEFINED:
        return repeat(draw, part10)
    copy = element_bytes(int(spot.tag), spot.vr, _hostile(draw, spot)) if draw.random() < 0.5 else part10[spot.start : spot.end]
    return part10[: spot.end] + copy * draw.choice((1, 2, 100)) + part10[spot.end :]


def swap_elements(draw: random.Random, part10: bytes) -> bytes:
    found = [spot for spot in spots(part10) if spot.length != UNDEFINED]
    if len(found) < 2:
        return repeat(draw, part10)
    first, second = sorted(draw.sample(found, 2), key=lambda s: s.start)
    pieces = (part10[second.start : second.end], part10[first.end : second.start], part10[first.start : first.end])
    return part10[: first.start] + b"".join(pieces) + part10[second.end :]


def insert_elements(draw: random.Random, part10: bytes) -> bytes:
    """Private and unknown elements, deep nests, sequences without an end, and many items."""
    start = dataset_start(part10)
    found = spots(part10)
    at = draw.choice(found).start if found and draw.random() < 0.7 else draw.choice((start, len(part10)))
    item = b"\xfe\xff\x00\xe0\0\0\0\0"
    extra = draw.choice(
        (
            lambda: nested(draw.choice((5, 200, 1000, 3000, 20000)), open_ends=draw.random() < 0.7),
            lambda: nested(draw.choice((5, 300, 3000)), draw.choice((0x00089215, 0x52009230, 0x0040A730, 0x00091001))),
            lambda: element_bytes(0x00080096, "SQ", item * draw.choice((2000, 200000))),
            lambda: element_bytes(0x52009230, "SQ", item * draw.choice((2000, 20000, 200000))),
            lambda: element_bytes(0x00620002, "SQ", item * draw.choice((2000, 200000))),
            lambda: b"".join(element_bytes(0x00091000 + n % 0xFF00, "UN", draw.randbytes(4)) for n in range(2000)),
            lambda: element_bytes(0x00090010, "LO", b"PHANTOM PRIVATE") + element_bytes(0x00091001, "UN", b"", UNDEFINED),
            lambda: element_bytes(0x00091001, "UN", draw.randbytes(64), 0x7FFFFFFF),
            lambda: element_bytes(draw.randrange(2**32), draw.choice(VRS), draw.randbytes(draw.randrange(40))),
            lambda: element_bytes(0x00080000, "UL", struct.pack("<I", 0xFFFFFFFF)),
        )
    )()
    return part10[:at] + extra + part10[at:]


def wrong_meta(draw: random.Random, part10: bytes) -> bytes:
    start = dataset_start(part10)
    data = part10[start:]
    length = draw.choice((0, 1, start - 144 + 8, start - 144 - 8, 0xFFFFFFFF, draw.randrange(2**32)))
    choices: tuple[Callable[[], bytes], ...] = (
        lambda: part10[:140] + struct.pack("<I", length) + part10[144:],
        lambda: meta(draw.choice(SYNTAXES)) + data,
        lambda: meta(draw.choice(SYNTAXES)) + data,
        lambda: data,
        lambda: part10[128:],
        lambda: part10[:128] + b"DICN" + part10[132:],
        lambda: bytes(128) + b"DICM",
        lambda: bytes(128) + b"DICM" + draw.randbytes(500),
        lambda: bytes(128) + b"DICM" + data,
        lambda: part10[:start],
        lambda: b"",
        lambda: draw.randbytes(draw.randrange(1, 3000)),
        lambda: b"%PDF-1.7\n" + draw.randbytes(400),
        lambda: b"\x89PNG\r\n\x1a\n" + draw.randbytes(400),
        lambda: b"PK\x03\x04" + draw.randbytes(400),
        lambda: part10[:start] + part10[132:start] + data,
        lambda: part10[:132] + element_bytes(0x00020010, "UI", b"1.2.840.10008.1.2.5") + part10[132:],
    )
    return draw.choice(choices)()


def meta(syntax: str) -> bytes:
    """Preamble and file meta that state a transfer syntax and nothing else."""
    stated = element_bytes(0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    return bytes(128) + b"DICM" + element_bytes(0x00020000, "UL", struct.pack("<I", len(stated))) + stated


def bomb(draw: random.Random, part10: bytes) -> bytes:
    """A deflated data set that grows a thousandfold: before its pixels, in them, behind them."""
    head = meta(str(uid.DeflatedExplicitVRLittleEndian))
    start = dataset_start(part10)
    megabytes = draw.choice((8, 64, 300))
    zeros = b"\0" * 2**20
    lead = draw.choice((element_bytes(0x00090010, "UN", b"", megabytes * 2**20), element_bytes(0x00080096, "OB", b"", UNDEFINED), b""))
    stream = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    before = part10[start:] if draw.random() < 0.5 else b""
    pieces = [stream.compress(before + lead)] + [stream.compress(zeros) for _ in range(megabytes)]
    return head + b"".join(pieces) + stream.compress(part10[start:]) + stream.flush()


def broken_deflate(draw: random.Random, part10: bytes) -> bytes:
    head, start = meta(str(uid.DeflatedExplicitVRLittleEndian)), dataset_start(part10)
    stream = bytearray(raw_deflate(part10[start:]))
    if draw.random() < 0.5:
        return head + bytes(stream[: draw.randrange(len(stream))])
    for _ in range(draw.choice((1, 4, 30))):
        stream[draw.randrange(len(stream))] ^= 1 << draw.randrange(8)
    return head + bytes(stream)


def huge_dimensions(draw: random.Random, part10: bytes) -> bytes:
    for keyword in draw.sample(("Rows", "Columns", "NumberOfFrames", "BitsAllocated", "SamplesPerPixel"), draw.choice((1, 2, 3))):
        spot = next((s for s in spots(part10) if int(s.tag) == tag_for_keyword(keyword)), None)
        if spot is None and keyword == "NumberOfFrames" and (behind := [s for s in spots(part10) if int(s.tag) > 0x00280008]):
            spot = Spot(behind[0].tag, "IS", behind[0].start, behind[0].start + 8, 0)
            part10 = part10[: spot.start] + element_bytes(0x00280008, "IS", b"2147483647") + part10[spot.start :]
        elif spot is not None:
            values = (b"65535", b"2147483646", b"999999999999") if spot.vr == "IS" else (b"\xff\xff", b"\xff\x7f", b"\x00\x40", b"\x01\x00")
            part10 = with_value(part10, spot, draw.choice(values))
    return part10


def wrong_pixels(draw: random.Random, part10: bytes) -> bytes:
    """Pixel data of another length or content; in a codestream, its own header (dimensions, precision) included."""
    spot = next((s for s in spots(part10) if int(s.tag) == 0x7FE00010), None)
    if spot is None:
        return random_bytes(draw, part10)
    if spot.length != UNDEFINED:
        value = part10[spot.value_start : spot.end]
        other = (
            value[: draw.randrange(len(value) + 1)],
            value + draw.randbytes(draw.randrange(9)),
            value * 3,
            b"",
            draw.randbytes(len(value)),
        )
        return with_value(part10, spot, draw.choice(other))
    first = spot.value_start + 16  # the first fragment lies behind an empty offset table
    kind = draw.randrange(5)
    if kind == 0:  # dimensions in the codestream: SOF (JPEG, JPEG-LS) or SIZ (JPEG 2000)
        marks = [m.start() for m in re.finditer(rb"\xff(?:[\xc0-\xc3]|\xf7|\x51)", part10[first:])]
        if marks:
            at = first + draw.choice(marks[:3]) + 2
            field = at + draw.randrange(2, 24)
            return part10[:field] + draw.choice((b"\xff\xff", b"\x7f\xff\xff\xff", b"\0\0", b"\0\1")) + part10[field + 2 :]
    if kind == 1:
        return part10[: spot.value_start] + struct.pack("<HHI", 0xFFFE, 0xE000, 8) + draw.randbytes(8) + part10[spot.value_start + 8 :]
    if kind == 2:
        return part10[: spot.value_start] + part10[spot.value_start + 8 :]  # without an offset table
    if kind == 3:
        return part10[: draw.randrange(first, len(part10))] + b"\xff\xd9\xfe\xff\xdd\xe0\0\0\0\0"
    broken = bytearray(part10)
    for _ in range(draw.choice((1, 3, 20))):
        broken[draw.randrange(first, len(broken))] ^= 1 << draw.randrange(8)
    return bytes(broken)


def _spot(draw: random.Random, part10: bytes) -> Spot | None:
    found = spots(part10)
    if not found:
        return None
    decisive = [spot for spot in found if int(spot.tag) in _DECISIVE_TAGS]
    return draw.choice(decisive if decisive and draw.random() < 0.75 else found)


def _hostile(draw: random.Random, spot: Spot) -> bytes:
    """A value that the element's VR does not expect, or that no scanner writes."""
    if int(spot.tag) == 0x00080005:
        return draw.choice(CHARACTER_SETS)
    chance = draw.random()
    if chance < 0.1:
        return draw.randbytes(draw.choice((0, 1, 2, 3, 8, 64)))
    if spot.vr in ("DS", "IS"):
        return draw.choice(NUMBERS)
    if spot.vr == "UI":
        return draw.choice(UIDS)
    if spot.vr in ("US", "SS"):
        return draw.choice((b"\0\0", b"\1\0", b"\2\0", b"\3\0", b"\xff\xff", b"\xff\x7f", b"\0\x80", b"\5\0\6\0", b"\1", b""))
    if spot.vr in ("UL", "SL", "FL"):
        return draw.choice(
            (bytes(4), b"\xff" * 4, struct.pack("<f", float("nan")), struct.pack("<f", 1e38), b"\1\0\0\0\2\0\0\0", b"\1\2\3")
        )
    if spot.vr == "FD":
        return b"".join(
            struct.pack("<d", draw.choice((float("nan"), float("inf"), 0.0, -1.0, 1e300))) for _ in range(draw.choice((1, 2, 3, 6)))
        )
    return draw.choice(TEXTS)


MUTATIONS: dict[str, tuple[int, Mutation]] = {
    "bits flipped": (8, flip_bits),
    "random bytes": (4, random_bytes),
    "truncated": (5, truncate),
    "appended": (1, append),
    "cut out": (3, cut_out),
    "repeated": (2, repeat),
    "wrong length": (7, wrong_length),
    "wrong item length": (5, wrong_item_length),
    "wrong VR": (4, wrong_vr),
    "other VR": (4, other_vr),
    "wrong value": (20, wrong_value),
    "wrong values": (6, wrong_values),
    "wrong character set": (4, wrong_character_set),
    "removed": (8, remove_elements),
    "duplicated": (3, duplicate_elements),
    "out of order": (3, swap_elements),
    "inserted": (6, insert_elements),
    "file meta": (6, wrong_meta),
    "bomb": (1, bomb),
    "broken deflate": (2, broken_deflate),
    "huge dimensions": (5, huge_dimensions),
    "pixel data": (10, wrong_pixels),
}
"""Name -> (weight, mutation)."""
