"""Attribute matching: universal, single value, list of UIDs, wild card, range, and in sequences."""

import pytest
from pydicom import Dataset
from pydicom.multival import MultiValue

from qcnode.ups.matching import answer, matches, values_of

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")


def dataset(**elements: object) -> Dataset:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made


STEP = dataset(
    SOPInstanceUID="1.2.3",
    PatientName="Müller^Jane^^Dr",
    PatientID="A[1]*",
    PatientBirthDate="19600229",
    ProcedureStepState="SCHEDULED",
    ScheduledProcedureStepStartDateTime="20260504083015.250000+0000",
    ScheduledWorkitemCodeSequence=[dataset(CodeValue="110002", CodingSchemeDesignator="DCM", CodeMeaning="Quality Control")],
    ReferencedRequestSequence=[dataset(AccessionNumber="X7", RequestedProcedureID="")],
)


@pytest.mark.parametrize(
    ("keyword", "value", "expected"),
    [
        ("PatientName", "", True),
        ("PatientName", "müller^JANE^^dr", True),
        ("PatientName", "Müller^Jane^^Dr^", True),
        ("PatientName", "M*", True),
        ("PatientName", "m?ller^*", True),
        ("PatientName", "Muller*", False),
        ("PatientID", "A[1]*", True),
        ("PatientID", "A1*", False),  # a bracket is no wild card
        ("PatientID", "a[1]*", False),
        ("PatientID", "*", True),
        ("PatientBirthDate", "19600229", True),
        ("PatientBirthDate", "19600101-19601231", True),
        ("PatientBirthDate", "19600301-", False),
        ("PatientBirthDate", "-1961", True),
        ("ProcedureStepState", "SCHEDULED", True),
        ("ProcedureStepState", "IN PROGRESS", False),
        ("SOPInstanceUID", MultiValue(str, ["1.2.9", "1.2.3"]), True),
        ("SOPInstanceUID", "1.2.*", False),  # nothing is wild in a UID
        ("ScheduledProcedureStepStartDateTime", "20260504083015.25+0000", True),
        ("ScheduledProcedureStepStartDateTime", "20260504083015+0000", True),
        ("ScheduledProcedureStepStartDateTime", "20260504093015.25+0100", True),
        ("ScheduledProcedureStepStartDateTime", "20260504033015.25-0500", True),
        ("ScheduledProcedureStepStartDateTime", "202605040830+0000-", True),
        ("ScheduledProcedureStepStartDateTime", "202605040831+0000-", False),
        ("ScheduledProcedureStepStartDateTime", "-202605040830+0000", True),
        ("ScheduledProcedureStepStartDateTime", "2026050408+0000-202605040830-0100", True),
        ("ScheduledProcedureStepStartDateTime", "202605-202606", True),
        ("ScheduledProcedureStepStartDateTime", "202512", False),
        ("ScheduledProcedureStepStartDateTime", "2026", True),
        ("ScheduledProcedureStepStartDateTime", "-20260503+0000", False),
        ("AccessionNumber", "X7", False),  # not on this level
    ],
)
def test_one_key(keyword: str, value: object, expected: bool) -> None:
    assert matches(dataset(**{keyword: value}), STEP) is expected


def test_keys_in_sequences() -> None:
    def requested(**keys: object) -> Dataset:
        return dataset(ReferencedRequestSequence=[dataset(**keys)])

    assert matches(requested(AccessionNumber="X*"), STEP)
    assert not matches(requested(AccessionNumber="Y*"), STEP)
    assert matches(requested(AccessionNumber="", RequestedProcedureID=""), STEP)
    assert matches(dataset(ReferencedRequestSequence=[]), STEP)
    assert not matches(dataset(ScheduledStationNameCodeSequence=[dataset(CodeValue="WS1")]), STEP)
    assert matches(dataset(ScheduledStationNameCodeSequence=[dataset(CodeValue="")]), STEP)
    assert not matches(dataset(PatientName="M*", ProcedureStepState="COMPLETED"), STEP)


@pytest.mark.parametrize("wrong", ["tomorrow", "2026050", "20261301", "-", "2026-05-04"])
def test_a_moment_that_can_not_be_read_is_told(wrong: str) -> None:
    key = dataset()
    key.add_new("ScheduledProcedureStepStartDateTime", "DT", "2026")
    key["ScheduledProcedureStepStartDateTime"]._value = wrong
    with pytest.raises(ValueError, match=r"date|month"):
        matches(key, STEP)


def test_the_answer_has_each_key_and_nothing_else() -> None:
    keys = dataset(
        PatientName="", AdmissionID="", ScheduledWorkitemCodeSequence=[], ReferencedRequestSequence=[dataset(AccessionNumber="X7")]
    )
    keys.ScheduledStationNameCodeSequence = []
    found = answer(keys, STEP)
    assert {element.keyword for element in found} == {element.keyword for element in keys}
    assert (found.PatientName, found.AdmissionID) == ("Müller^Jane^^Dr", None)
    assert found.ScheduledWorkitemCodeSequence[0].CodeMeaning == "Quality Control"
    assert [element.keyword for element in found.ReferencedRequestSequence[0]] == ["AccessionNumber"]
    assert list(found.ScheduledStationNameCodeSequence) == []


def test_values_of_a_key() -> None:
    assert values_of(dataset(SOPInstanceUID=["1.2", "1.3"]), "SOPInstanceUID") == ("1.2", "1.3")
    assert values_of(dataset(SOPInstanceUID=""), "SOPInstanceUID") == values_of(Dataset(), "SOPInstanceUID") == ()
