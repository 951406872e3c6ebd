"""Who made a result and how: retry-stable UIDs, equipment, algorithm, series number and description.

A UID is a digest of everything that a result depends on (inputs, weights, judging configuration, version) and of its SOP class: the same
case gives the same UIDs on every attempt, and nothing else ever gives them. An archive keeps the first object of a UID silently, so a UID
that did not change with the content would hide the new answer.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import highdicom.sr as sr
from highdicom import AlgorithmIdentificationSequence
from pydicom.uid import Comprehensive3DSRStorage, KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage, SegmentationStorage

from qcnode.case import Weights
from qcnode.report.codes import ARTIFICIAL_INTELLIGENCE, DEVICE
from qcnode.report.identity import text_of
from qcnode.report.inputs import ReportInputs
from qcnode.uids import uid_of_digest

PRODUCT = "qcnode"
Kind = Literal["report", "error_map", "summary", "key_object"]

SOP_CLASSES: dict[Kind, str] = {
    "report": Comprehensive3DSRStorage,
    "error_map": SegmentationStorage,
    "summary": SecondaryCaptureImageStorage,
    "key_object": KeyObjectSelectionDocumentStorage,
}
# Behind the query's own series, the summary first: it is what a reader should open.
_SERIES_OFFSET: dict[Kind, int] = {"summary": 91, "error_map": 92, "report": 93, "key_object": 94}
_DESCRIPTION: dict[Kind, str] = {"summary": "", "error_map": " ERROR MAP", "report": " report", "key_object": " key object"}


def result_uid(kind: Kind, *, case_id: str, weights: Weights | None, judging_digest: str, version: str, entity: str = "instance") -> str:
    """The UID of one result of a case. entity: "instance", "series", or whatever else of that result needs a UID of its own."""
    weights_key = (weights.name, weights.version, weights.sha256) if weights else ()
    return stable_uid(kind, SOP_CLASSES[kind], entity, case_id, *weights_key, judging_digest, version)


def stable_uid(*parts: str) -> str:
    """A UID that `parts` alone decide, at most 44 characters."""
    return uid_of_digest(sha256("\0".join((PRODUCT, *parts)).encode()).digest())


def uid_for(inputs: ReportInputs, kind: Kind, entity: str = "instance") -> str:
    """`result_uid` of the case in `inputs`."""
    return result_uid(
        kind,
        case_id=inputs.case.case_id,
        weights=inputs.assessment.weights,
        judging_digest=inputs.judging.digest,
        version=inputs.version,
        entity=entity,
    )


def series_number(inputs: ReportInputs, kind: Kind) -> int:
    """Sorts behind the query's series: query 5 gives 591, 592, 593."""
    written = text_of(inputs.query, "SeriesNumber")
    query_number = int(written) if written.isdecimal() and 0 < int(written) < 1_000_000 else 99
    return query_number * 100 + _SERIES_OFFSET[kind]


def series_description(inputs: ReportInputs, kind: Kind) -> str:
    """What a list of series shows, at most 64 characters: "QC FAIL 0.47 predicted DSC"."""
    prediction = inputs.assessment.prediction
    # the number first: lists of series are narrow and cut the end off
    found = f"{prediction.predicted_dsc:.2f} predicted DSC" if prediction is not None else "not assessed"
    return f"QC {inputs.assessment.verdict} {found}{_DESCRIPTION[kind]}"


def equipment(inputs: ReportInputs) -> dict[str, str]:
    """Equipment attributes (PS3.3 C.7.5.1, C.7.5.2) as keyword arguments of highdicom's constructors."""
    return {
        "manufacturer": PRODUCT,
        "manufacturer_model_name": PRODUCT,
        "software_versions": inputs.version,
        "device_serial_number": _serial_number(inputs),
    }


def algorithm_parameters(inputs: ReportInputs) -> list[str]:
    """What else decides an answer, for the algorithm's identification: digests of weights and judging, tolerance, thresholds."""
    weights, prediction = inputs.assessment.weights, inputs.assessment.prediction
    lines = [f"weights sha256 {weights.sha256}"] if weights else []
    if prediction is not None:
        lines.append(f"nsd tolerance {prediction.tolerance_mm:g} mm")
    return [*lines, f"judging sha256 {inputs.judging.digest}", f"thresholds: {inputs.judging.description}", f"qcnode {inputs.version}"]


def algorithm_of_segment(inputs: ReportInputs) -> AlgorithmIdentificationSequence:
    """Algorithm identification of an error segment (PS3.3 C.8.20.4)."""
    name, version = _algorithm(inputs)
    sequence = AlgorithmIdentificationSequence(name=name, family=ARTIFICIAL_INTELLIGENCE, version=version, source=PRODUCT)
    sequence[0].AlgorithmParameters = "\r\n".join(algorithm_parameters(inputs))
    return sequence


def algorithm_of_measurement(inputs: ReportInputs) -> sr.AlgorithmIdentification:
    """Algorithm identification of a measurement group (PS3.16 TID 4019)."""
    name, version = _algorithm(inputs)
    return sr.AlgorithmIdentification(
        name=name, version=version, parameters=algorithm_parameters(inputs), family=ARTIFICIAL_INTELLIGENCE, manufacturer=PRODUCT
    )


def observation_context(inputs: ReportInputs) -> sr.ObservationContext:
    """The observer is a device, and never a person (PS3.16 TID 1002)."""
    return sr.ObservationContext(observer_device_context=device_observer(inputs))


def device_observer(inputs: ReportInputs) -> sr.ObserverContext:
    """qcnode with these weights, as the observer of what it says (PS3.16 TID 1004)."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=uid_for(inputs, "report", "device"),
        name=PRODUCT,
        manufacturer_name=PRODUCT,
        model_name=PRODUCT,
        serial_number=_serial_number(inputs),
    )
    return sr.ObserverContext(DEVICE, device)


def _algorithm(inputs: ReportInputs) -> tuple[str, str]:
    weights = inputs.assessment.weights
    return (weights.name[:64], weights.version[:64]) if weights else (PRODUCT, inputs.version[:64])


def _serial_number(inputs: ReportInputs) -> str:
    weights = inputs.assessment.weights
    return weights.sha256[:16] if weights else inputs.version
