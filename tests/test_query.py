import warnings
from dataclasses import replace

import pytest
from pydicom import Dataset
from pydicom.uid import SegmentationStorage
from report_cases import build

from qcnode.case import Verdict
from qcnode.report.codes import UNKNOWN_SEGMENT
from qcnode.report.query import is_uid, query_class, query_segments, source_series_uid


def test_segments_are_read_by_number():
    inputs = build()
    inputs.query.SegmentSequence = list(inputs.query.SegmentSequence)[::-1]
    segments = query_segments(inputs)
    assert [s.segment_numbers for s in segments] == [(1,), (2,), (3,)]
    assert [s.finding.value for s in segments] == ["53085002", "74281007", "87878005"]
    assert [s.tracking_uid for s in segments] == ["1.2.3.5.1", "1.2.3.5.2", "1.2.3.5.3"]


def test_odd_segments_are_named_as_far_as_they_can_be():
    inputs = build()
    first, second, third = inputs.query.SegmentSequence
    del first.SegmentNumber
    del second.SegmentedPropertyTypeCodeSequence, second.TrackingID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about what the test writes
        third.TrackingUID = "not a uid"
        segments = query_segments(inputs)
    assert [s.segment_numbers for s in segments] == [(2,), (3,)]
    assert segments[0].finding == UNKNOWN_SEGMENT
    assert segments[0].tracking_id == "Segment 2"
    assert segments[1].tracking_uid is None


def test_a_header_that_says_nothing():
    inputs = replace(build(Verdict.UNASSESSABLE, images=False), query=Dataset())
    assert query_segments(inputs) == ()
    assert query_class(inputs) == SegmentationStorage
    assert source_series_uid(inputs) is None


def test_the_source_series_is_the_matched_one_else_the_querys():
    assert source_series_uid(build()) == "1.2.3.2"
    assert source_series_uid(build(Verdict.UNASSESSABLE, images=False)) == "1.2.3.2"


@pytest.mark.parametrize(("text", "expected"), [("1.2.3", True), ("", False), ("1", False), ("1.2.a", False), ("1." * 40 + "1", False)])
def test_uids(text, expected):
    assert is_uid(text) is expected
