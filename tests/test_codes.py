from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

from qcnode.case import ReasonCode, Verdict
from qcnode.report import codes
from qcnode.store.items import RATINGS, Decision

CONCEPTS = {name: value for name, value in vars(codes).items() if isinstance(value, Code)}


def test_codes_are_unique():
    assert len({(c.value, c.scheme_designator) for c in CONCEPTS.values()}) == len(CONCEPTS)


def test_every_concept_can_be_written():
    for concept in CONCEPTS.values():
        assert len(concept.meaning) <= 64
        assert len(concept.scheme_designator) <= 16
        assert CodedConcept.from_code(concept).CodeValue == concept.value  # 16 characters at most, so no Long Code Value


def test_estimates_and_verdict_are_private_and_say_so():
    for concept in (codes.PREDICTED_DSC, codes.PREDICTED_NSD, codes.PREDICTED_ERROR):
        assert concept.scheme_designator == codes.SCHEME
        assert concept.meaning.lower().startswith("predicted")
    assert Code("qc-verdict", codes.SCHEME, "Segmentation QC verdict") == codes.VERDICT


def test_the_codes_that_rate_images_are_not_there():
    assert not {"111236", "111237"} & {c.value for c in CONCEPTS.values()}


def test_each_verdict_and_reason_has_its_code():
    verdicts, reasons = [codes.verdict_concept(v) for v in Verdict], [codes.reason_concept(r) for r in ReasonCode]
    assert len({c.value for c in verdicts}) == len(Verdict)
    assert len({c.value for c in reasons}) == len(ReasonCode)
    assert codes.verdict_concept(Verdict.FAIL).meaning == "FAIL"
    assert (
        CodedConcept.from_code(codes.reason_concept(ReasonCode.SEVERAL_IMAGES_PER_POSITION)).LongCodeValue == "several-images-per-position"
    )


def test_the_private_scheme_is_identified():
    (scheme,) = codes.coding_schemes()
    assert scheme.CodingSchemeDesignator == "99QCNODE"


def test_each_decision_and_rating_has_its_code():
    decisions = [codes.decision_concept(d) for d in Decision]
    assert [(c.value, c.meaning) for c in decisions] == [
        ("accept", "accept"),
        ("reject", "reject"),
        ("needs-correction", "needs correction"),
    ]
    assert [(c.value, c.meaning) for c in codes.STARS] == [(f"stars-{n}", f"{n} of 6 stars") for n in RATINGS]
    for concept in (*decisions, *codes.STARS):
        assert CodedConcept.from_code(concept).CodeValue == concept.value
        assert concept.scheme_designator == codes.SCHEME


def test_a_key_object_has_no_rejection_title():
    rejections = {"113001", "113037", "113038", "113039"}  # of PS3.16 CID 7010, as IHE IOCM uses them
    assert not rejections & {c.value for c in CONCEPTS.values()}
