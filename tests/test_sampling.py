"""What is drawn: as often as configured, always the same, and so that being blind tells nothing."""

from hashlib import sha256

import pytest

from qcnode.case import Verdict
from qcnode.sampling import NO_SAMPLING, Sampling

CASES = [sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(2000)]
FLAGGED = (Verdict.FAIL, Verdict.REVIEW)


def blind(sampling: Sampling, verdict: Verdict) -> float:
    return sum(sampling.is_blind(case, verdict) for case in CASES) / len(CASES)


def test_the_same_share_of_every_verdict_is_blind_so_that_it_tells_nothing() -> None:
    shares = [blind(Sampling(pass_share=0.2, blind_share=0.2), verdict) for verdict in (Verdict.PASS, *FLAGGED)]
    assert all(0.17 < share < 0.23 for share in shares)
    assert len(set(shares)) == 1, "a case is blind or not, whatever its verdict is"


def test_what_could_not_be_judged_has_nothing_to_hide() -> None:
    everything = Sampling(pass_share=1, blind_share=1)
    assert [blind(everything, verdict) for verdict in (Verdict.PASS, Verdict.UNASSESSABLE, Verdict.NOT_APPLICABLE)] == [1, 0, 0]


def test_without_sampling_nothing_is_blind_or_read_twice() -> None:
    assert not any(NO_SAMPLING.is_blind(case, verdict) for case in CASES for verdict in Verdict)
    assert not any(NO_SAMPLING.is_read_twice(case, verdict, "cardiac-sax") for case in CASES for verdict in Verdict)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(second_verdicts=frozenset({Verdict.FAIL})), (1, 0)),
        (Sampling(second_tasks=frozenset({"cardiac-sax"})), (1, 1)),
        (Sampling(second_tasks=frozenset({"brain"})), (0, 0)),
        (Sampling(second_verdicts=frozenset({Verdict.FAIL}), blind_share=1), (0, 0)),
    ],
    ids=["verdict", "task", "another task", "a verdict that is hidden"],
)
def test_which_items_two_read(sampling: Sampling, expected: tuple[float, float]) -> None:
    shares = (sum(sampling.is_read_twice(case, v, "cardiac-sax") for case in CASES) / len(CASES) for v in FLAGGED)
    assert tuple(shares) == expected


def test_a_share_is_read_twice_and_drawn_apart_from_what_is_blind() -> None:
    sampling = Sampling(blind_share=0.5, second_share=0.25)
    twice = [case for case in CASES if sampling.is_read_twice(case, Verdict.FAIL, "cardiac-sax")]
    assert 0.21 < len(twice) / len(CASES) < 0.29
    assert 0.4 < sum(sampling.is_blind(case, Verdict.FAIL) for case in twice) / len(twice) < 0.6


def test_the_probability_with_which_a_case_became_an_item_is_known() -> None:
    sampling = Sampling(pass_share=0.05, blind_share=0.5)
    assert [sampling.probability(verdict) for verdict in (Verdict.PASS, Verdict.FAIL, Verdict.UNASSESSABLE)] == [0.05, 1, 1]
