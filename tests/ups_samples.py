"""What the tests of the worklist for workstations share: a site with reports, its listener, and workstations that call it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.tag import Tag
from pynetdicom import AE
from pynetdicom.sop_class import (
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    Verification,
)
from report_cases import build
from web_samples import Clock, Site, open_site

from qcnode.case import Verdict
from qcnode.config import Ups
from qcnode.dicom_listener import DicomListener
from qcnode.report import codes
from qcnode.report.write_sr import write_report
from qcnode.store.items import Item
from qcnode.store.ups_steps import UpsSteps
from qcnode.ups.attributes import Archive, step_uid
from qcnode.ups.scp import start_ups_scp
from qcnode.ups.service import UpsWorklist

RIGHT, OTHER = "2.25.4711", "2.25.4712"
CALLERS = [{"ae_title": "READING1", "reader": "meyer"}, {"ae_title": "READING2", "address": "127.0.0.1", "reader": "okafor"}]


@cache
def report() -> Dataset:
    """A report as qcnode writes it."""
    return write_report(build(), None)


def put(site: Site, case_id: str, verdict: Verdict = Verdict.FAIL, **changes: object) -> Item:
    """One more item whose report is on disk."""
    folder = site.database.directory / "results" / case_id
    folder.mkdir(parents=True)
    report().save_as(folder / "report.dcm", enforce_file_format=True)
    return site.put(case_id, verdict, pictures=False, **changes)


@dataclass
class UpsSite:
    """A site with its worklist for workstations."""

    site: Site
    steps: UpsSteps
    worklist: UpsWorklist
    listener: DicomListener
    callers: dict[str, Caller] = field(default_factory=dict)

    @property
    def clock(self) -> Clock:
        return self.site.clock

    def called(self, ae_title: str = "READING1") -> Caller:
        """A workstation, which calls once and keeps its association: making one takes as long as dozens of requests."""
        return self.callers.setdefault(ae_title, Caller(ae_title, self.listener.port))


@contextmanager
def ups_site(directory: Path) -> Iterator[UpsSite]:
    site = open_site(directory)
    steps = UpsSteps(site.database, step_uid)
    worklist = UpsWorklist(site.review, steps, Archive(ae_title="PACS"), site.clock)
    listener = start_ups_scp(Ups.model_validate({"enabled": True, "port": 0, "callers": CALLERS}), worklist)
    made = UpsSite(site, steps, worklist, listener)
    try:
        yield made
    finally:
        for caller in made.callers.values():
            caller.leave()
        listener.stop()


class Caller:
    """A workstation: pynetdicom as the other side. Answers are status codes and data sets."""

    def __init__(self, ae_title: str, port: int) -> None:
        self.entity = AE(ae_title)
        self.port = port
        self.association: Any = None
        for sop_class in (
            UnifiedProcedureStepPull,
            UnifiedProcedureStepPush,
            UnifiedProcedureStepWatch,
            UnifiedProcedureStepQuery,
            Verification,
        ):
            self.entity.add_requested_context(sop_class)
        for name in ("acse_timeout", "dimse_timeout", "network_timeout"):
            setattr(self.entity, name, 20)

    def is_accepted(self) -> bool:
        """Whether it has, or gets, an association."""
        if self.association is None or not self.association.is_established:
            self.association = self.entity.associate("127.0.0.1", self.port)
        return bool(self.association.is_established)

    def leave(self) -> None:
        """End the association."""
        if self.association is not None and self.association.is_established:
            self.association.abort()

    def echo(self) -> int:
        return self._call(lambda association: association.send_c_echo())[0]

    def find(self, sop_class: str = UnifiedProcedureStepPull, **keys: object) -> tuple[int, list[Dataset]]:
        """The final status, and what was found."""
        identifier = dataset(**{"SOPInstanceUID": "", "ProcedureStepState": ""} | keys)
        assert self.is_accepted()
        answers = list(self.association.send_c_find(identifier, sop_class))
        return answers[-1][0].Status, [found for status, found in answers if status.Status == 0xFF00 and found is not None]

    def found(self, **keys: object) -> list[str]:
        """The UIDs of the steps that were found."""
        status, steps = self.find(**keys)
        assert status == 0
        return [str(step.SOPInstanceUID) for step in steps]

    def get(self, uid: str, *keywords: str) -> tuple[int, Dataset]:
        tags = [Tag(keyword) for keyword in keywords]
        return self._call(
            lambda association: association.send_n_get(tags, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull)
        )

    def set(self, uid: str, modifications: Dataset) -> int:
        return self._call(
            lambda association: association.send_n_set(modifications, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepPull)
        )[0]

    def create(self) -> int:
        attributes = dataset(ProcedureStepState="SCHEDULED")
        return self._call(lambda association: association.send_n_create(attributes, UnifiedProcedureStepPush, "2.25.99"))[0]

    def change(self, uid: str, state: str, transaction_uid: str = RIGHT) -> int:
        told = dataset(ProcedureStepState=state)
        if transaction_uid:
            told.TransactionUID = transaction_uid
        return self.act(uid, 1, told, UnifiedProcedureStepPull)

    def act(self, uid: str, action: int, told: Dataset | None = None, sop_class: str = UnifiedProcedureStepWatch) -> int:
        return self._call(lambda association: association.send_n_action(told, action, UnifiedProcedureStepPush, uid, meta_uid=sop_class))[0]

    def _call(self, send: Callable[[Any], Any]) -> tuple[int, Dataset]:
        assert self.is_accepted()
        answer = send(self.association)
        status, found = answer if isinstance(answer, tuple) else (answer, None)
        return status.Status, found if found is not None else Dataset()


def dataset(**elements: object) -> Dataset:
    """A data set of these elements."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


def code(concept: Code) -> list[Dataset]:
    """A code sequence."""
    return [dataset(CodeValue=concept.value, CodingSchemeDesignator=concept.scheme_designator, CodeMeaning=concept.meaning)]


def decided(decision: str, *reasons: str, comment: str = "", stars: int = 0, transaction_uid: str = RIGHT) -> Dataset:
    """The N-SET of a workstation that codes a reader's decision in content items."""
    content = [
        dataset(ValueType="CODE", ConceptNameCodeSequence=code(codes.DECISION), ConceptCodeSequence=code(codes.decision_concept(decision)))
    ]
    texts = [(codes.DECISION_REASON, reason) for reason in reasons] + ([(codes.DECISION_COMMENT, comment)] if comment else [])
    content += [dataset(ValueType="TEXT", ConceptNameCodeSequence=code(concept), TextValue=text) for concept, text in texts]
    if stars:
        content.append(
            dataset(ValueType="CODE", ConceptNameCodeSequence=code(codes.STAR_RATING), ConceptCodeSequence=code(codes.STARS[stars - 1]))
        )
    return performed(PerformedProcessingParametersSequence=content, transaction_uid=transaction_uid)


def performed(transaction_uid: str = RIGHT, **elements: object) -> Dataset:
    """The N-SET of a workstation that tells what it has performed."""
    told = dataset(SpecificCharacterSet="ISO_IR 192", UnifiedProcedureStepPerformedProcedureSequence=[dataset(**elements)])
    if transaction_uid:
        told.TransactionUID = transaction_uid
    return told
