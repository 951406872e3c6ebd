"""The announcement of a flagged case: a Key Object Selection Document (PS3.3 A.35.4, PS3.16 TID 2010) of the query SEG and its report.

Titled "Quality Issue", which asks somebody to look. It never names the images, for it is the segmentation that is in question, and never
has one of the rejection titles (IHE IOCM): an archive might hide what they name.
"""

from __future__ import annotations

from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom import Dataset

from qcnode.report import codes
from qcnode.report.identity import CHARACTER_SET, apply_identity, identity, instance_reference, pin_times, query_reference
from qcnode.report.inputs import ReportInputs
from qcnode.report.provenance import device_observer, equipment, series_description, series_number, uid_for


def write_key_object(inputs: ReportInputs, report: Dataset) -> Dataset:
    """The key object of one case, in a series of its own. report: the SR that `write_report` made of the same case."""
    attributes = identity(inputs)
    query = query_reference(inputs, attributes)
    query.Rows = query.Columns = 1  # any: with them highdicom refers to it as the image that it is
    references = [query, instance_reference(report, attributes)]
    content = KeyObjectSelection(
        document_title=codes.QUALITY_ISSUE,
        referenced_objects=references,
        observer_device_context=device_observer(inputs),
        description=_description(inputs),
    )
    key_object: Dataset = KeyObjectSelectionDocument(
        evidence=references,
        content=content,
        series_instance_uid=uid_for(inputs, "key_object", "series"),
        series_number=series_number(inputs, "key_object"),
        sop_instance_uid=uid_for(inputs, "key_object"),
        instance_number=1,
        series_description=series_description(inputs, "key_object"),
        specific_character_set=CHARACTER_SET,
        **equipment(inputs),
    )
    apply_identity(key_object, attributes)
    pin_times(key_object, inputs.created)
    return key_object


def _description(inputs: ReportInputs) -> str:
    """What an archive's list shows beside the title."""
    reasons = "; ".join(reason.text for reason in inputs.assessment.reasons)
    return f"Segmentation QC: {inputs.assessment.verdict}. {reasons}. About the segmentation, not about the images; not for diagnosis."
