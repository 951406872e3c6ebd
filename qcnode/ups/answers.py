"""Which status answers which request: PS3.4 Table CC.1.1-2 and the status tables of CC.2. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from qcnode.store.ups_states import StepState

SUCCESS = 0x0000
ATTRIBUTES_NOT_SUPPORTED = 0x0001  # a warning: requested optional attributes are not supported
INVALID_ATTRIBUTE_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
TOO_MUCH = 0x0213  # resource limitation
IDENTIFIER_UNREADABLE = 0xA900
ALREADY_CANCELED = 0xB304  # a warning
ALREADY_COMPLETED = 0xB306  # a warning
OVER = 0xC300  # the UPS may no longer be updated
WRONG_TRANSACTION = 0xC301  # the correct Transaction UID was not provided
ALREADY_IN_PROGRESS = 0xC302
ONLY_CREATED_SCHEDULED = 0xC303  # may only become SCHEDULED via N-CREATE
NOT_FINAL = 0xC304  # final state requirements are not met
NO_SUCH_STEP = 0xC307
NOT_IN_PROGRESS = 0xC310
COMPLETED_BEFORE = 0xC311
PERFORMER_UNREACHABLE = 0xC312
PERFORMER_REFUSES = 0xC313
NO_EVENT_REPORTS = 0xC315

_S, _P, _C, _X = StepState.SCHEDULED, StepState.IN_PROGRESS, StepState.COMPLETED, StepState.CANCELED
_CHANGES: Mapping[StepState, Mapping[StepState, int | None]] = MappingProxyType(
    {
        _P: {_S: None, _P: ALREADY_IN_PROGRESS, _C: OVER, _X: OVER},
        _C: {_S: NOT_IN_PROGRESS, _P: None, _C: ALREADY_COMPLETED, _X: OVER},
        _X: {_S: NOT_IN_PROGRESS, _P: None, _C: OVER, _X: ALREADY_CANCELED},
    }
)
"""Wanted state -> present state -> the answer to who gives the correct Transaction UID; None: the change is allowed."""


def answer_to_change(wanted: str, present: StepState, known_uid: str | None, given_uid: str) -> int | None:
    """What to answer to Change UPS State, or None where the change is to be made.

    known_uid: the Transaction UID of the step; a step that is SCHEDULED has none, so any that is given is as correct as another. The second
    of two claimants gives another than the first, and is refused for that (CC.2.1.2).
    """
    if wanted not in list(StepState):
        return INVALID_ARGUMENT
    if wanted == _S:
        return ONLY_CREATED_SCHEDULED
    is_correct = bool(given_uid) and (present is _S or given_uid == known_uid)
    return _CHANGES[StepState(wanted)][present] if is_correct else WRONG_TRANSACTION


def answer_to_set(present: StepState, known_uid: str | None, given_uid: str) -> int | None:
    """What to answer to N-SET, or None where it is allowed: what is SCHEDULED is qcnode's alone to change."""
    if present is _S:
        return NOT_IN_PROGRESS
    if present is not _P:
        return OVER
    return None if given_uid and given_uid == known_uid else WRONG_TRANSACTION


def answer_to_cancel_request(present: StepState, is_performed_here: bool) -> int | None:
    """What to answer to Request UPS Cancel, or None where the step is to be canceled.

    is_performed_here: a reader in the browser has it, who is not asked; a workstation could be told by event reports only.
    """
    if present is _P:
        return PERFORMER_REFUSES if is_performed_here else PERFORMER_UNREACHABLE
    return {_S: None, _C: COMPLETED_BEFORE, _X: ALREADY_CANCELED}[present]
