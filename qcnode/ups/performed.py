"""What the performer of a step has set: kept, completed, and read as a reader's judgement of the query SEG.

The judgement is coded as in qcnode's own documents about decisions (docs/conformance.md): content items in the Performed Processing
Parameters Sequence, or, for workstations that can only choose what was performed, the decision's code as Performed Workitem Code.
"""

from __future__ import annotations

import json
from datetime import datetime

from pydicom import Dataset
from pydicom.sr.coding import Code

from qcnode.report import codes
from qcnode.report.identity import items_of, text_of
from qcnode.store.items import Decision, Judgement, WorklistError
from qcnode.store.ups_steps import Step
from qcnode.ups.attributes import QUALITY_CONTROL, code_item, moment

PERFORMED = "UnifiedProcedureStepPerformedProcedureSequence"
PROGRESS = "ProcedureStepProgressInformationSequence"
MAY_BE_SET = (PROGRESS, PERFORMED)

_DECISIONS = {codes.decision_concept(decision).value: decision for decision in Decision}
_RATINGS = {stars.value: number for number, stars in enumerate(codes.STARS, start=1)}


class BadDecisionError(ValueError):
    """What is coded is no judgement; the text names no patient."""


def performed_of(text: str | None) -> Dataset:
    """What the performer has set so far, as `Step.performed` keeps it."""
    return Dataset.from_json(text) if text else Dataset()


def with_modifications(step: Step, modifications: Dataset) -> str:
    """The step's performed content after an N-SET, to be kept: what may be set, as given; all else is left as it was."""
    performed = performed_of(step.performed)
    for keyword in MAY_BE_SET:
        if keyword in modifications:
            performed[keyword] = modifications[keyword]
    return as_text(performed)


def as_text(performed: Dataset) -> str:
    """As it is kept."""
    return json.dumps(performed.to_json_dict())


def with_performed(dataset: Dataset, step: Step) -> Dataset:
    """The step's data set with what its performer has set; what qcnode knows of its progress stays where the performer is silent."""
    performed = performed_of(step.performed)
    if PERFORMED in performed:
        dataset[PERFORMED] = performed[PERFORMED]
    if PROGRESS in performed:
        progress = next(iter(items_of(dataset, PROGRESS)), Dataset())
        progress.update(next(iter(items_of(performed, PROGRESS)), Dataset()))
        setattr(dataset, PROGRESS, [progress])
    return dataset


def completed(performed: Dataset, step: Step, now: datetime) -> Dataset:
    """With what has to be there in the final state (PS3.4 Table CC.2.5-3) and the performer left out: qcnode knows when, where and what."""
    items = items_of(performed, PERFORMED) or [Dataset()]
    station = Code((step.ae_title or "")[:16], codes.SCHEME, "workstation of that AE title")
    defaults = {
        "PerformedStationNameCodeSequence": [code_item(station)],
        "PerformedWorkitemCodeSequence": [code_item(QUALITY_CONTROL)],
        "PerformedProcedureStepStartDateTime": moment(step.begun_at or now),
        "PerformedProcedureStepEndDateTime": moment(now),
    }
    for item in items:
        for keyword, value in defaults.items():
            if not item.get(keyword):
                setattr(item, keyword, value)
        if "OutputInformationSequence" not in item:
            item.OutputInformationSequence = []
    setattr(performed, PERFORMED, items)
    return performed


def judgement_of(performed: Dataset) -> Judgement | None:
    """The reader's judgement, or None where no decision is coded. Raises BadDecisionError where what is coded makes none."""
    items = items_of(performed, PERFORMED)
    content = [one for item in items for one in items_of(item, "PerformedProcessingParametersSequence")]
    workitems = [one for item in items for one in items_of(item, "PerformedWorkitemCodeSequence")]
    said = [_code(one, "ConceptCodeSequence") for one in _named(content, codes.DECISION)]
    said += [value for one in workitems if (value := _own_code(one)) in _DECISIONS]
    if len(set(said)) > 1:
        raise BadDecisionError("more than one decision is coded")
    ratings = [_code(one, "ConceptCodeSequence") for one in _named(content, codes.STAR_RATING)]
    if any(one not in _DECISIONS for one in said) or any(one not in _RATINGS for one in ratings) or len(ratings) > 1:
        raise BadDecisionError("a coded value is none of those that are defined")
    if not said:
        return None
    reasons = tuple(text_of(one, "TextValue") for one in _named(content, codes.DECISION_REASON))
    comment = "\n".join(text_of(one, "TextValue") for one in _named(content, codes.DECISION_COMMENT))
    try:
        return Judgement(_DECISIONS[said[0]], reasons, comment, _RATINGS[ratings[0]] if ratings else None)
    except WorklistError as error:
        raise BadDecisionError(str(error)) from error


def _named(content: list[Dataset], concept: Code) -> list[Dataset]:
    return [item for item in content if _code(item, "ConceptNameCodeSequence") == concept.value]


def _code(item: Dataset, keyword: str) -> str:
    """The value of our own code in a code sequence; "" where there is none."""
    return next((_own_code(one) for one in items_of(item, keyword)), "")


def _own_code(item: Dataset) -> str:
    value = text_of(item, "CodeValue") or text_of(item, "LongCodeValue")
    return value if text_of(item, "CodingSchemeDesignator") == codes.SCHEME else ""
