"""Headers of made-up images and SEGs, for the tests of ingest."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from qcnode.case import FrameHeader, InstanceHeader, SegmentHeader, StoredHeader
from qcnode.ingest.matching import ContrastRule, TaskRule
from qcnode.tissues import Structure, Tissue

STUDY, SERIES, FRAME_OF_REFERENCE = "1.2.3", "1.2.3.1", "1.2.3.9"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
MR, ENHANCED_MR, CT, SEG = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("4", "4.1", "2", "66.4"))

LV = Structure("left ventricle", (("87878005", "SCT"),), r"\blv\b")
MYO = Structure("myocardium", (("74281007", "SCT"),), "myo")
RV = Structure("right ventricle", (("53085002", "SCT"),), r"\brv\b")
HEART = TaskRule(
    "cardiac-sax",
    (LV, MYO, RV),
    tuple(Tissue(s.name, (s.name,), (s.codes[0][0], "SCT", s.name)) for s in (LV, MYO, RV)),
    (ContrastRule("cine"),),
)
EDEMA = Structure("oedema", (("79654002", "SCT"),), "edema")
GLIOMA = TaskRule(
    "glioma",
    (EDEMA,),
    (Tissue("whole tumour", ("oedema",), ("79654002", "SCT", "Edema")),),
    (
        ContrastRule("t1", "t1", "flair", contrast_agent=False),
        ContrastRule("t1c", "t1", contrast_agent=True),
        ContrastRule("flair", "flair"),
    ),
)


def stored(header: InstanceHeader, *, conflicting: bool = False, content: str = "", path: str = "") -> StoredHeader:
    digest = sha256(f"{header.sop_instance_uid}{content}".encode()).hexdigest()
    return StoredHeader(header, Path(path or f"objects/{digest}"), digest, conflicting)


def frame(number: int = 1, z: float = 0.0, **fields) -> FrameHeader:
    position = fields.pop("position", (0.0, 0.0, float(z)))
    return FrameHeader(number, position, fields.pop("orientation", AXIAL), fields.pop("pixel_spacing", (1.0, 1.0)), **fields)


def image(uid: str, frames: Iterable[FrameHeader], **fields) -> InstanceHeader:
    known = {
        "sop_class_uid": MR,
        "study_instance_uid": STUDY,
        "series_instance_uid": SERIES,
        "kind": "image",
        "modality": "MR",
        "frame_of_reference_uid": FRAME_OF_REFERENCE,
        "rows": 64,
        "columns": 48,
        "image_type": ("ORIGINAL", "PRIMARY", "M"),
    }
    return InstanceHeader(sop_instance_uid=uid, frames=tuple(frames), **(known | fields))


def series(slices: int = 6, phases: int = 1, *, uid: str = SERIES, step_mm: float = 8.0, **fields) -> list[InstanceHeader]:
    """A classic series, all phases of a slice before the next slice; UIDs are <series>.<slice>.<phase>, counted from 0."""
    return [
        image(
            f"{uid}.{s}.{p}",
            [frame(z=s * step_mm, time_key=(str(p) if phases > 1 else "",))],
            series_instance_uid=uid,
            instance_number=1 + s * phases + p,
            **fields,
        )
        for s in range(slices)
        for p in range(phases)
    ]


def segment(number: int = 1, structure: Structure = LV, **fields) -> SegmentHeader:
    known = {"label": structure.name, "category": None, "property_type": (*structure.codes[0], structure.name)}
    return SegmentHeader(segment_number=number, **(known | fields))


def seg(
    uid: str = "1.2.3.5.1", *, of: Iterable[InstanceHeader] = (), whole_series: Iterable[InstanceHeader] = (), **fields
) -> InstanceHeader:
    """A SEG whose frames name the images `of`, one frame each, and whose header names `whole_series` as well."""
    drawn, listed = list(of), list(whole_series)
    frames = []
    for i, header in enumerate(drawn, start=1):
        plane = header.frames[0]
        sources = ((header.sop_instance_uid, None),)
        frames.append(FrameHeader(i, plane.image_position, plane.image_orientation, (1.0, 1.0), source_instances=sources))
    known = {
        "sop_class_uid": SEG,
        "series_instance_uid": "1.2.3.5",
        "kind": "seg",
        "modality": "SEG",
        "image_type": ("DERIVED", "PRIMARY"),
        "segments": (segment(1, LV), segment(2, MYO)),
        "referenced_instances": tuple(h.sop_instance_uid for h in drawn + listed),
        "manufacturer": "Maker",
        "device_model": "Segmenter",
        "content_datetime": "20240101120000",
    }
    return image(uid, fields.pop("frames", frames), **(known | fields))
