"""The SCP of the Unified Procedure Step service (PS3.4 Annex CC): all of UPS Pull; of Push, Watch and Query what finds, shows and cancels.

A listener of its own, with threads of its own: what workstations ask for holds up nothing that is received.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    Verification,
)

from qcnode.config import Config, StowDestination, Ups, Workstation
from qcnode.dicom_listener import Callers, DicomListener, Rejections, peer_of, start_listener
from qcnode.errors import Retryable
from qcnode.report.identity import text_of
from qcnode.review import Review
from qcnode.store.database import Database
from qcnode.store.ups_steps import Performer, UpsSteps
from qcnode.ups import answers
from qcnode.ups.attributes import Archive, step_uid
from qcnode.ups.service import UpsWorklist

_CHANGE_STATE, _REQUEST_CANCEL = 1, 2
_SUBSCRIPTIONS = (3, 4, 5)  # subscribe, unsubscribe, suspend a global subscription
_PENDING, _CANCELED = 0xFF00, 0xFE00
_UNABLE = 0xC000
_SOP_CLASSES = (
    Verification,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepWatch,
    UnifiedProcedureStepQuery,
)

_log = logging.getLogger(__name__)


def open_ups_worklist(config: Config, database: Database, review: Review, now: Callable[[], datetime]) -> UpsWorklist:
    """The worklist as steps, which refer to the archive of the configuration: that of `matching`, or else the first destination."""
    named = {destination.name: destination for destination in config.destinations}
    chosen = named[config.matching.archive] if config.matching.archive else next(iter(config.destinations), None)
    archive = Archive()
    if chosen is not None:
        archive = Archive(url=chosen.url) if isinstance(chosen, StowDestination) else Archive(ae_title=chosen.ae_title)
    return UpsWorklist(review, UpsSteps(database, step_uid), archive, now)


def start_ups_scp(settings: Ups, worklist: UpsWorklist, rejections: Rejections | None = None) -> DicomListener:
    """Listen until `stop` is called; port 0 takes a free one.

    Raises ConfigurationError when the address can not be listened on, or certificate and key can not be used.
    """
    callers = Callers(settings.callers)
    contexts = [build_context(uid, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]) for uid in _SOP_CLASSES]
    handlers: list[Any] = [
        (evt.EVT_C_FIND, handle_find, [worklist]),
        (evt.EVT_N_CREATE, refuse_create),
    ]
    handlers += [(event, handle_step, [act, worklist, callers]) for event, act in _ACTS.items()]
    return start_listener(settings, "ups", contexts, handlers, callers=callers, everyone=False, rejections=rejections)


def handle_find(event: evt.Event, worklist: UpsWorklist) -> Iterator[tuple[int, Dataset | None]]:
    """Answer C-FIND (PS3.4 CC.2.8)."""
    try:
        for found in worklist.find(event.identifier):
            if event.is_cancelled:
                yield _CANCELED, None
                return
            yield _PENDING, found
    except ValueError:
        yield answers.IDENTIFIER_UNREADABLE, None
    except Exception as error:  # noqa: BLE001 - one query must not end the association; its text might quote a patient
        _log.error("worklist query failed: %s", _named(error))
        yield _UNABLE, None


def refuse_create(_: evt.Event) -> tuple[int, None]:
    """Answer N-CREATE: what is on the worklist is for qcnode alone to say."""
    return answers.NOT_AUTHORIZED, None


def handle_step(
    event: evt.Event,
    act: Callable[[evt.Event, UpsWorklist, Performer], tuple[int, Dataset | None]],
    worklist: UpsWorklist,
    callers: Callers[Workstation],
) -> tuple[int, Dataset | None]:
    """Answer N-GET, N-SET or N-ACTION."""
    workstation = callers.of(peer_of(event.assoc))
    if workstation is None:
        return answers.NOT_AUTHORIZED, None
    by = Performer(workstation.ae_title, workstation.reader)
    try:
        status, reply = act(event, worklist, by)
    except Exception as error:  # noqa: BLE001 - one request must not end the association; its text might quote a patient
        _log.error("request of workstation %s failed: %s", by.ae_title, _named(error))
        return answers.PROCESSING_FAILURE, None
    if status != answers.SUCCESS:
        _log.info("request of workstation %s answered with %04XH", by.ae_title, status)
    return status, reply


def _get(event: evt.Event, worklist: UpsWorklist, _: Performer) -> tuple[int, Dataset | None]:
    return worklist.get(str(event.request.RequestedSOPInstanceUID), event.attribute_identifiers)


def _set(event: evt.Event, worklist: UpsWorklist, _: Performer) -> tuple[int, Dataset | None]:
    return worklist.modify(str(event.request.RequestedSOPInstanceUID), event.modification_list), None


def _action(event: evt.Event, worklist: UpsWorklist, by: Performer) -> tuple[int, Dataset | None]:
    sop_instance_uid, action = str(event.request.RequestedSOPInstanceUID), event.action_type
    if action == _CHANGE_STATE:
        told = event.action_information
        wanted, transaction_uid = text_of(told, "ProcedureStepState"), text_of(told, "TransactionUID")
        return worklist.change_state(sop_instance_uid, wanted, transaction_uid, by), None
    if action == _REQUEST_CANCEL:
        return worklist.request_cancel(sop_instance_uid, by), None
    return (answers.NO_EVENT_REPORTS if action in _SUBSCRIPTIONS else answers.NO_SUCH_ACTION), None


def _named(error: Exception) -> str:
    return str(error) if isinstance(error, Retryable) else type(error).__name__


_ACTS: Mapping[Any, Callable[[evt.Event, UpsWorklist, Performer], tuple[int, Dataset | None]]] = MappingProxyType(
    {evt.EVT_N_GET: _get, evt.EVT_N_SET: _set, evt.EVT_N_ACTION: _action}
)
