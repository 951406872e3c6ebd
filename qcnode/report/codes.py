"""Every coded concept that qcnode writes.

Numbers and verdicts are coded privately and say *predicted* (or *segmentation QC*): a viewer that shows no more than the concept's name
must not show an estimate as a measurement, nor a judgement of a segmentation as one of the images (111236, 111237 are such).
"""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.sr.coding import Code

from qcnode.case import ReasonCode, Verdict
from qcnode.regions import Mark

SCHEME = "99QCNODE"


def _private(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# What is estimated (NUM), PS3.16 TID 300, and between what (TEXT)
PREDICTED_DSC = _private("predicted-dsc", "Predicted Dice Similarity Coefficient")
PREDICTED_NSD = _private("predicted-nsd", "Predicted Normalized Surface Dice")
TOLERANCE = _private("nsd-tolerance", "Surface distance tolerance")
INTERVAL = _private("qc-interval", "Prediction interval")
ESTIMATED = Code("414135002", "SCT", "Estimated")
MEASUREMENT_FAILURE = Code("114006", "DCM", "Measurement failure")
NO_UNITS = Code("1", "UCUM", "no units")
MILLIMETER = Code("mm", "UCUM", "mm")

# What is said of the query (CODE, TEXT, IMAGE)
VERDICT = _private("qc-verdict", "Segmentation QC verdict")
REASON = _private("qc-reason", "Segmentation QC reason")
EXPLANATION = _private("qc-explanation", "Segmentation QC explanation")
LIMITS = _private("qc-limits", "Segmentation QC thresholds")
QUERY_SEGMENTATION = _private("query-seg", "Query segmentation")
ERROR_MAP = _private("error-map", "Predicted segmentation error map")
ALL_TISSUES = _private("all-tissues", "All segmented tissues")
UNKNOWN_SEGMENT = _private("segment", "Segment of the query segmentation")

# What a reader says of the query (CODE, TEXT, PNAME), and what of it was before the reader (COMPOSITE)
DECISION = _private("qc-decision", "Reader's decision on the query segmentation")
DECISION_REASON = _private("decision-reason", "Reason of the reader's decision")
DECISION_COMMENT = _private("decision-comment", "Comment on the reader's decision")
STAR_RATING = _private("star-rating", "Reader's rating of the query segmentation")
REVISION_REASON = _private("revision-reason", "Reason for revising the earlier decision")
AGREEING_READER = _private("agreeing-reader", "Reader who independently decided the same")
REGION_MARK = _private("region-mark", "Reader's mark of a predicted error region")
ERROR_REGION = _private("error-region", "Predicted error region")
QC_REPORT = _private("qc-report", "Segmentation QC report")
STARS = tuple(_private(f"stars-{n}", f"{n} of 6 stars") for n in range(1, 7))

# Error segments: not anatomy, so that nobody adds them to it
PREDICTED_ERROR = _private("predicted-error", "predicted segmentation error")
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")  # CID 7150

# The document
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")  # CID 7021
PROCEDURE = Code("25056-3", "LN", "MRI unspecified body region")  # CID 100
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # TID 1500
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")  # CID 7162
DEVICE = Code("121007", "DCM", "Device")  # CID 270
PROCEDURE_REPORTED = Code("121058", "DCM", "Procedure reported")  # TID 1500
ENGLISH = Code("en-US", "RFC5646", "English (United States)")  # CID 5000
PERSON = Code("121006", "DCM", "Person")  # CID 270
QUALITY_ISSUE = Code("113010", "DCM", "Quality Issue")  # CID 7010
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")  # CID 7202


def verdict_concept(verdict: Verdict) -> Code:
    """The value of a "Segmentation QC verdict"."""
    return _private(verdict.value.lower(), verdict.value)


def reason_concept(code: ReasonCode) -> Code:
    """The value of a "Segmentation QC reason"; a value of more than 16 characters becomes a Long Code Value."""
    return _private(code.value, code.value.replace("-", " "))


def decision_concept(decision: str) -> Code:
    """The value of a "Reader's decision on the query segmentation": of ACCEPT, REJECT and NEEDS_CORRECTION."""
    return _in_words(decision)


def mark_concept(mark: Mark) -> Code:
    """The value of a "Reader's mark of a predicted error region"."""
    return _in_words(mark)


def _in_words(name: str) -> Code:
    words = name.lower().replace("_", " ")
    return _private(words.replace(" ", "-"), words)


def coding_schemes() -> list[CodingSchemeIdentificationItem]:
    """Coding Scheme Identification Sequence: who stands behind 99QCNODE."""
    return [CodingSchemeIdentificationItem(SCHEME, name="qcnode private codes", responsible_organization="qcnode")]
