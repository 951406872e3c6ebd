"""Status codes: PS3.4 Table CC.1.1-2 line by line."""

import pytest

from qcnode.store.ups_states import StepState
from qcnode.ups.answers import answer_to_cancel_request, answer_to_change, answer_to_set

S, P, C, X = "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"
RIGHT, WRONG, NONE = "2.25.1", "2.25.2", ""


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        # by the present state: SCHEDULED, IN PROGRESS, COMPLETED, CANCELED
        (P, RIGHT, (None, 0xC302, 0xC300, 0xC300)),
        (P, WRONG, (None, 0xC301, 0xC301, 0xC301)),  # whatever UID claims a step that nobody has
        (P, NONE, (0xC301, 0xC301, 0xC301, 0xC301)),
        (C, RIGHT, (0xC310, None, 0xB306, 0xC300)),
        (C, WRONG, (0xC310, 0xC301, 0xC301, 0xC301)),
        (C, NONE, (0xC301, 0xC301, 0xC301, 0xC301)),
        (X, RIGHT, (0xC310, None, 0xC300, 0xB304)),
        (X, WRONG, (0xC310, 0xC301, 0xC301, 0xC301)),
        (S, RIGHT, (0xC303, 0xC303, 0xC303, 0xC303)),
        (S, NONE, (0xC303, 0xC303, 0xC303, 0xC303)),
        ("DISCONTINUED", RIGHT, (0x0115, 0x0115, 0x0115, 0x0115)),
    ],
)
def test_change_state(wanted: str, given: str, expected: tuple[int | None, ...]) -> None:
    known = {S: None, P: RIGHT, C: RIGHT, X: RIGHT}
    assert tuple(answer_to_change(wanted, StepState(present), known[present], given) for present in (S, P, C, X)) == expected


def test_set() -> None:
    assert [answer_to_set(StepState(present), RIGHT, RIGHT) for present in (S, P, C, X)] == [0xC310, None, 0xC300, 0xC300]
    assert [answer_to_set(StepState.IN_PROGRESS, RIGHT, given) for given in (WRONG, NONE)] == [0xC301, 0xC301]


def test_request_cancel() -> None:
    assert [answer_to_cancel_request(StepState(present), True) for present in (S, P, C, X)] == [None, 0xC313, 0xC311, 0xB304]
    assert answer_to_cancel_request(StepState.IN_PROGRESS, False) == 0xC312
