"""What the soak stands on: studies that are new each time and whole, and growth that is seen. The soak itself is `make soak`."""

import os
import re

import pytest
from fresh_studies import FreshStudies
from processes import Taken, growths, look_at

UID = re.compile(r"2\.25\.\d{20,39}")


@pytest.fixture(scope="module")
def studies() -> FreshStudies:
    return FreshStudies()


def test_studies_share_no_uid_and_are_alike_otherwise(studies: FreshStudies) -> None:
    one, other = ([d.to_json() for d in studies.objects(number)] for number in (1, 2))
    assert not set(UID.findall("".join(one))) & set(UID.findall("".join(other)))
    assert [UID.sub("", text) for text in one] == [UID.sub("", text) for text in other]
    assert len(set(UID.findall("".join(one)))) == len(set(UID.findall("".join(other))))


def test_a_fresh_query_refers_to_the_fresh_images(studies: FreshStudies) -> None:
    *images, query = studies.objects(7)
    assert {d.StudyInstanceUID for d in (*images, query)} == {studies.study_instance_uid(7)}
    referenced = {i.ReferencedSOPInstanceUID for i in query.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referenced
    assert referenced <= {d.SOPInstanceUID for d in images}
    assert all(d.SOPInstanceUID == d.file_meta.MediaStorageSOPInstanceUID for d in (*images, query))


def samples(of: str, megabytes: dict[float, float]) -> list[Taken]:
    return [Taken(second, of, 1, mb, mb, mb, 5, 6) for second, mb in megabytes.items()]


def test_growth_is_counted_from_when_everything_had_settled() -> None:
    leaking = samples("leaking", {0: 10, 300: 100, 330: 100, 360: 101, 600: 110, 900: 119, 930: 120, 960: 121})
    steady = samples("steady", {0: 10, 300: 100, 330: 150, 360: 100, 600: 300, 900: 101, 930: 500, 960: 101})
    grown = {g.process: g.percent for g in growths(leaking + steady, settled_second=300)}
    assert grown == {"leaking": pytest.approx(20), "steady": pytest.approx(1)}


def test_a_process_that_was_not_there_all_the_time_is_told() -> None:
    with pytest.raises(ValueError, match="gone"):
        growths(samples("gone", {300: 1, 330: 1}) + samples("there", {300: 1, 900: 1}), settled_second=300)


def test_a_process_is_looked_at() -> None:
    taken = look_at(os.getpid(), "this one", 0)
    assert taken.resident_mb > taken.own_mb > 10
    assert taken.threads >= 1
    assert taken.files >= 3
