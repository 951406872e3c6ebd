"""Every sentence of the matching rules, on made-up headers, and the choice of the right stack on real ones."""

import random
from dataclasses import replace

import numpy as np
import pytest
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from made_headers import (
    CT,
    EDEMA,
    FRAME_OF_REFERENCE,
    GLIOMA,
    HEART,
    LV,
    MYO,
    RV,
    SERIES,
    STUDY,
    frame,
    image,
    seg,
    segment,
    series,
    stored,
)
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from qcnode.case import FrameHeader, InstanceHeader, ReasonCode, StoredHeader
from qcnode.errors import ConfigurationError
from qcnode.headers import header_of, read_header
from qcnode.ingest.matching import (
    EarlierCase,
    LabelMap,
    Matched,
    MatchOutcome,
    NotApplicable,
    OwnResult,
    TaskRule,
    Unchanged,
    Waiting,
    match_study,
)
from qcnode.ingest.stacks import gap_free, split_stacks

QUERY = "1.2.3.5.1"


def held(*headers: InstanceHeader | StoredHeader) -> list[StoredHeader]:
    return [h if isinstance(h, StoredHeader) else stored(h) for h in headers]


def match(
    objects: list[StoredHeader], *, tasks=(HEART,), quiet=True, overdue=False, counts=None, earlier=(), **further
) -> list[MatchOutcome]:
    """match_study, whose answer must not depend on the order of arrival."""

    def ask(shuffled: list[StoredHeader]) -> list[MatchOutcome]:
        return match_study(
            shuffled, tasks, quiet=quiet, archive_counts=counts or {}, is_overdue=lambda uid: overdue, earlier=earlier, **further
        )

    first = ask(objects)
    for seed in range(4):
        shuffled = list(objects)
        random.Random(seed).shuffle(shuffled)
        assert ask(shuffled) == first
    return first


def only(outcomes: list[MatchOutcome]) -> MatchOutcome:
    (outcome,) = outcomes
    return outcome


def case_of(*args, **kwargs):
    outcome = only(match(*args, **kwargs))
    assert isinstance(outcome, Matched), outcome
    return outcome.case


def problem_of(*args, **kwargs) -> ReasonCode | None:
    problem = case_of(*args, **kwargs).problem
    return problem.code if problem else None


def waits_for(*args, **kwargs) -> ReasonCode:
    outcome = only(match(*args, **kwargs))
    assert isinstance(outcome, Waiting), outcome
    assert outcome.query_sop_instance_uid == QUERY
    return outcome.reason.code


def frames_of(case, contrast="cine") -> list[tuple[str, int]]:
    return [(f.sop_instance_uid, f.frame_number) for f in case.contrasts[contrast].frames]


def phase(headers: list[InstanceHeader], number: int) -> list[InstanceHeader]:
    return [h for h in headers if h.sop_instance_uid.endswith(f".{number}")]


# ---- which volume


def test_the_volume_is_the_whole_stack_slices_without_segmentation_included() -> None:
    images = series(8)
    case = case_of(held(*images, seg(of=images[2:6])))
    assert frames_of(case) == [(h.sop_instance_uid, 1) for h in images]
    assert (case.problem, case.task, case.reference_contrast, case.study_instance_uid) == (None, "cardiac-sax", "cine", STUDY)
    assert case.query.sop_instance_uid == QUERY


def test_of_a_cine_series_only_the_referenced_phase() -> None:
    images = series(6, 3)
    assert frames_of(case_of(held(*images, seg(of=phase(images, 1)[1:4])))) == [(f"{SERIES}.{s}.1", 1) for s in range(6)]


def test_frames_decide_where_the_whole_cine_series_is_listed_as_referenced() -> None:
    images = series(6, 3)
    assert frames_of(case_of(held(*images, seg(of=phase(images, 2)[1:4], whole_series=images)))) == [
        (f"{SERIES}.{s}.2", 1) for s in range(6)
    ]


def test_two_phases_are_not_guessed_from() -> None:
    images = series(6, 3)
    assert problem_of(held(*images, seg(of=[*phase(images, 1), *phase(images, 2)]))) is ReasonCode.SEVERAL_STACKS
    assert problem_of(held(*images, seg(whole_series=images))) is ReasonCode.SEVERAL_STACKS


def test_frame_numbers_of_an_enhanced_instance_choose_the_phase() -> None:
    enhanced = image("1.7", [frame(1 + 3 * s + p, z=8 * s, time_key=(str(p),)) for s in range(5) for p in range(3)])
    drawn = [FrameHeader(1, (0, 0, 8), None, None, source_instances=(("1.7", 5),))]
    assert frames_of(case_of(held(enhanced, seg(frames=drawn)))) == [("1.7", n) for n in (2, 5, 8, 11, 14)]
    no_number = [FrameHeader(1, (0, 0, 8), None, None, source_instances=(("1.7", None),))]
    assert problem_of(held(enhanced, seg(frames=no_number))) is ReasonCode.SEVERAL_STACKS
    beyond = [FrameHeader(1, (0, 0, 8), None, None, source_instances=(("1.7", 5), ("1.7", 99)))]
    assert waits_for(held(enhanced, seg(frames=beyond))) is ReasonCode.IMAGES_MISSING


def test_a_seg_without_frames_matches_by_its_references() -> None:
    images = series(6)
    assert len(frames_of(case_of(held(*images, seg(whole_series=images))))) == 6


def test_a_seg_that_names_a_series_only() -> None:
    images, drawn = series(6), seg(referenced_series=(SERIES,))
    assert len(frames_of(case_of(held(*images, drawn)))) == 6
    assert problem_of(held(*series(6, 2), drawn)) is ReasonCode.SEVERAL_STACKS
    assert waits_for(held(drawn)) is ReasonCode.IMAGES_MISSING


def planes(*heights: float, **fields) -> list[FrameHeader]:
    return [FrameHeader(i, (4.0, 4.0, z), (1, 0, 0, 0, 1, 0), (1.0, 1.0), **fields) for i, z in enumerate(heights, start=1)]


def test_a_seg_that_shares_only_the_frame_of_reference() -> None:
    small = {"rows": 20, "columns": 20}
    here, elsewhere = series(6), series(6, uid="1.2.3.2", frame_of_reference_uid="1.8")
    above = [image(f"1.2.3.3.{i}", [frame(z=200 + 8 * i)], series_instance_uid="1.2.3.3") for i in range(6)]
    scout = image("1.2.3.4.1", [frame(z=16)], series_instance_uid="1.2.3.4")
    objects = held(*here, *elsewhere, *above, scout)
    assert frames_of(case_of([*objects, stored(seg(frames=planes(9, 12, 15), **small))])) == [(h.sop_instance_uid, 1) for h in here]
    assert waits_for([*objects, stored(seg(frames=planes(9, 100), **small))]) is ReasonCode.IMAGES_MISSING
    assert waits_for([*objects, stored(seg(frames=planes(9), rows=200, columns=20))]) is ReasonCode.IMAGES_MISSING
    twin = series(6, uid="1.2.3.6")
    assert problem_of([*objects, *held(*twin), stored(seg(frames=planes(9), **small))]) is ReasonCode.SEVERAL_STACKS
    assert waits_for(held(*here, seg(frames=planes(9), frame_of_reference_uid=None))) is ReasonCode.IMAGES_MISSING


def test_planes_of_another_orientation_are_not_the_stacks() -> None:
    sagittal = [FrameHeader(1, (20.0, 4.0, 30.0), (0, 1, 0, 0, 0, -1), (1.0, 1.0))]
    assert waits_for(held(*series(6), seg(frames=sagittal, rows=20, columns=20))) is ReasonCode.IMAGES_MISSING


def test_a_frame_derived_from_another_seg_is_matched_by_the_other_references() -> None:
    images = series(6)
    first = seg("1.2.3.6.1", of=images, series_instance_uid="1.2.3.6", segments=(segment(structure=EDEMA),))
    derived = [FrameHeader(1, (0, 0, 8), None, None, source_instances=(("1.2.3.6.1", 1),))]
    refined = seg(frames=derived, whole_series=images)
    matched = [o for o in match(held(*images, first, refined)) if isinstance(o, Matched)]
    assert len(frames_of(only(matched).case)) == 6


# ---- ready or waiting


def test_not_ready_before_the_extent_is_confirmed() -> None:
    images = series(6)
    objects = held(*images, seg(of=images))
    assert waits_for(objects, quiet=False) is ReasonCode.IMAGES_MISSING
    assert waits_for(objects, quiet=False, overdue=True) is ReasonCode.IMAGES_MISSING
    assert case_of(objects).completeness_evidence == "quiet-time"
    assert case_of(objects, quiet_evidence="directory", overdue=True).completeness_evidence == "directory"


def test_the_archives_count_confirms_at_once() -> None:
    images = series(6)
    objects = held(*images, seg(of=images))
    assert case_of(objects, quiet=False, counts={SERIES: 6}).completeness_evidence == "archive-count"
    assert case_of(objects, quiet=False, counts={SERIES: 5}).completeness_evidence == "archive-count"
    assert waits_for(objects, quiet=False, counts={"1.other": 6}) is ReasonCode.IMAGES_MISSING
    assert waits_for(objects, quiet=False, counts={SERIES: 7}) is ReasonCode.MISSING_SLICE


def test_an_archive_that_holds_more_outweighs_quiet_until_overdue() -> None:
    images = series(6)
    objects = held(*images, seg(of=images))
    assert waits_for(objects, counts={SERIES: 7}) is ReasonCode.MISSING_SLICE
    case = case_of(objects, counts={SERIES: 7}, overdue=True)
    assert (case.problem, case.completeness_evidence) == (None, "quiet-time")


def test_raw_objects_in_the_series_count_as_received() -> None:
    images = series(6)
    raw = InstanceHeader("1.2.840.10008.5.1.4.1.1.66", "1.2.9", STUDY, SERIES, "other")
    assert case_of(held(*images, raw, seg(of=images)), quiet=False, counts={SERIES: 7}).completeness_evidence == "archive-count"


def test_a_seg_before_any_image_waits_then_is_a_visible_state() -> None:
    alone = held(seg(of=series(6)))
    assert waits_for(alone, quiet=False) is ReasonCode.IMAGES_MISSING
    assert waits_for(alone) is ReasonCode.IMAGES_MISSING
    case = case_of(alone, overdue=True)
    assert (case.problem.code, case.contrasts, case.completeness_evidence) == (ReasonCode.IMAGES_MISSING, {}, "none")


def test_some_referenced_images_never_come() -> None:
    images = series(6)
    some = held(*images[:5], seg(of=images))
    assert waits_for(some) is ReasonCode.IMAGES_MISSING
    case = case_of(some, overdue=True)
    assert case.problem.code is ReasonCode.IMAGES_MISSING
    assert len(frames_of(case)) == 5


def test_a_gap_waits_until_overdue() -> None:
    images = series(6)
    with_gap = held(*images[:3], *images[4:], seg(of=images[:2]))
    assert waits_for(with_gap) is ReasonCode.MISSING_SLICE
    assert waits_for(with_gap, counts={SERIES: 5}) is ReasonCode.MISSING_SLICE
    assert waits_for(with_gap, overdue=True, quiet=False) is ReasonCode.MISSING_SLICE
    assert problem_of(with_gap, overdue=True) is ReasonCode.MISSING_SLICE


def test_an_end_slice_that_other_phases_have_is_missed() -> None:
    images = series(6, 3)
    lacking = held(*[h for h in images if h.sop_instance_uid != f"{SERIES}.5.1"], seg(of=phase(images, 1)[1:4]))
    assert waits_for(lacking) is ReasonCode.MISSING_SLICE
    assert problem_of(lacking, overdue=True) is ReasonCode.MISSING_SLICE
    assert problem_of(lacking, quiet=False, counts={SERIES: 17}) is None  # the archive confirms an interrupted scan


def test_uneven_slices_and_planes_that_nothing_tells_apart() -> None:
    images = [image(f"{SERIES}.{i}.0", [frame(z=z)]) for i, z in enumerate((0, 8, 19, 27))]
    assert problem_of(held(*images, seg(of=images)), overdue=True) is ReasonCode.UNEVEN_SPACING
    images = series(4)
    twice = image("1.7", [frame(z=8)], instance_number=2)
    assert problem_of(held(*images, twice, seg(of=images)), overdue=True) is ReasonCode.SEVERAL_IMAGES_PER_POSITION


# ---- what no late image cures


def test_problems_of_the_images() -> None:
    def of(images, **fields):
        drawn = {key: fields.pop(key) for key in ("frame_of_reference_uid",) if key in fields}
        objects = held(*images, seg(of=images, **drawn))
        assert waits_for(objects, quiet=False)
        return problem_of(objects)

    assert of(series(1)) is ReasonCode.SINGLE_SLICE
    assert of(series(4, frame_of_reference_uid=None)) is ReasonCode.NO_FRAME_OF_REFERENCE
    assert of(series(4), frame_of_reference_uid="1.8") is ReasonCode.FRAME_OF_REFERENCE_DIFFERS
    assert of(series(4), frame_of_reference_uid=None) is None
    assert of(series(2, image_type=("ORIGINAL", "PRIMARY", "M", "MOSAIC"))) is ReasonCode.MOSAIC
    assert of([image("1.7", [frame(position=None, orientation=None)])]) is ReasonCode.NO_GEOMETRY
    assert problem_of(held(image("1.7", []), seg(referenced_instances=("1.7",)))) is ReasonCode.NO_GEOMETRY


def test_conflicting_content_of_an_image_or_of_the_query() -> None:
    images = series(4)
    fine = case_of(held(*images, seg(of=images)))
    image_conflict = case_of(held(stored(images[0], conflicting=True), *images[1:], seg(of=images)))
    query_conflict = case_of(held(*images, stored(seg(of=images), conflicting=True)))
    assert fine.problem is None
    assert image_conflict.problem.code is query_conflict.problem.code is ReasonCode.CONFLICTING_CONTENT
    assert fine.case_id != image_conflict.case_id  # known only after the first verdict: to be judged anew


def test_two_files_of_one_instance_are_one_object() -> None:
    images = series(4)
    objects = held(*images, seg(of=images))
    copies = [replace(o, path=o.path.with_suffix(".copy")) for o in objects]
    assert case_of(objects + copies).case_id == case_of(objects).case_id
    flagged = [*objects, replace(objects[0], path=objects[0].path.with_suffix(".other"), sha256="f" * 64, conflicting=True)]
    assert problem_of(flagged) is ReasonCode.CONFLICTING_CONTENT


# ---- which task


def test_what_no_task_claims_is_not_applicable() -> None:
    images = series(4)
    prostate = (segment(property_type=("41216001", "SCT", "Prostate"), label="prostate"),)
    outcome = only(match(held(*images, seg(of=images, segments=prostate)), quiet=False))
    assert isinstance(outcome, NotApplicable)
    assert outcome.reason.code is ReasonCode.NO_TASK


def test_a_seg_on_ct_is_not_applicable() -> None:
    slices = [replace(h, kind="other", modality="CT", sop_class_uid=CT) for h in series(4)]
    outcome = only(match(held(*slices, seg(of=slices)), quiet=False))
    assert isinstance(outcome, NotApplicable)
    assert outcome.reason.code is ReasonCode.NOT_MR
    before_them = only(match(held(seg(of=slices, referenced_sop_classes=(CT,))), quiet=False))
    assert isinstance(before_them, NotApplicable)
    assert isinstance(only(match(held(*slices, seg(referenced_series=(SERIES,))), quiet=False)), NotApplicable)


def test_codes_claim_before_labels_and_more_segments_before_fewer() -> None:
    by_label = TaskRule("a-task", (replace(LV, codes=()), replace(MYO, codes=())), HEART.tissues, HEART.contrasts)
    images = series(4)
    objects = held(*images, seg(of=images, segments=(segment(1, LV, label="lv"), segment(2, MYO, label="myo"))))
    assert case_of(objects, tasks=(by_label, HEART)).task == "cardiac-sax"
    smaller = TaskRule("a-task", (LV,), HEART.tissues, HEART.contrasts)
    assert case_of(objects, tasks=(smaller, HEART)).task == "cardiac-sax"
    labelled = held(*images, seg(of=images, segments=(segment(label="LV", property_type=None),)))
    assert case_of(labelled).problem is None


def test_more_labels_claim_before_fewer() -> None:
    images = series(4)
    objects = held(
        *images, seg(of=images, segments=(segment(1, label="lv", property_type=None), segment(2, label="myo", property_type=None)))
    )
    assert case_of(objects, tasks=(TaskRule("a-task", (LV,), HEART.tissues, HEART.contrasts), HEART)).problem is None


def test_a_real_tie_is_not_guessed() -> None:
    images, twin = series(4), replace(HEART, name="another-heart")
    objects = held(*images, seg(of=images))
    case = case_of(objects, tasks=(HEART, twin))
    assert (case.problem.code, case.task) == (ReasonCode.AMBIGUOUS_TISSUE, "another-heart")
    assert case_of(objects, tasks=(twin, HEART)) == case


def test_label_maps_and_own_results_are_not_judged() -> None:
    images = series(4)
    label_map = seg("1.5", of=images, kind="labelmap")
    own = seg("1.6", of=images, kind="qcnode-result", predecessor_uids=(QUERY,))
    first, second, query = match(held(*images, label_map, own, seg(of=images)))
    assert isinstance(first, LabelMap)
    assert first.reason.code is ReasonCode.LABELMAP_NOT_SUPPORTED
    assert second == OwnResult("1.6")
    assert isinstance(query, Matched)


def test_a_task_without_a_contrast_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError):
        TaskRule("empty", HEART.structures, HEART.tissues, ())


def test_a_one_contrast_task_takes_the_referenced_stack_whatever_it_is_called() -> None:
    images = series(4, series_description="any name")
    task = replace(HEART, contrasts=(replace(HEART.contrasts[0], series_description="cine"),))
    assert case_of(held(*images, seg(of=images)), tasks=(task,)).problem is None


# ---- further contrasts

FLAIR = series(5, uid="1.2.3.21", series_description="AX FLAIR")
T1 = series(6, uid="1.2.3.22", series_description="AX T1 SE", contrast_agent="NONE")
T1C = series(7, uid="1.2.3.23", series_description="AX T1 SE", contrast_agent="Gadovist")
GLIOMA_SEG = seg(of=FLAIR[1:3], segments=(segment(structure=EDEMA),))


def glioma(*parts: list[InstanceHeader], **kwargs):
    return held(GLIOMA_SEG, *(h for part in parts for h in part))


def test_further_contrasts_are_found_by_the_rules() -> None:
    scout = series(1, uid="1.2.3.24", series_description="T1 scout")
    case = case_of(glioma(FLAIR, T1, T1C, scout), tasks=(GLIOMA,))
    assert {name: len(stack.frames) for name, stack in case.contrasts.items()} == {"flair": 5, "t1": 6, "t1c": 7}
    assert (case.reference_contrast, case.problem, case.completeness_evidence) == ("flair", None, "quiet-time")


def test_only_quiet_confirms_that_no_further_series_follows() -> None:
    counts = {"1.2.3.21": 5, "1.2.3.22": 6, "1.2.3.23": 7}
    assert waits_for(glioma(FLAIR, T1, T1C), tasks=(GLIOMA,), quiet=False, counts=counts) is ReasonCode.IMAGES_MISSING


def test_a_missing_contrast_waits_until_quiet() -> None:
    assert waits_for(glioma(FLAIR, T1), tasks=(GLIOMA,), quiet=False) is ReasonCode.CONTRAST_MISSING
    case = case_of(glioma(FLAIR, T1), tasks=(GLIOMA,))
    assert (case.problem.code, set(case.contrasts)) == (ReasonCode.CONTRAST_MISSING, {"flair", "t1"})


def test_several_candidates_even_copies_are_ambiguous() -> None:
    copy = series(7, uid="1.2.3.25", series_description="AX T1 SE", contrast_agent="Gadovist")
    assert problem_of(glioma(FLAIR, T1, T1C, copy), tasks=(GLIOMA,)) is ReasonCode.CONTRAST_AMBIGUOUS


def test_another_flair_does_not_make_the_referenced_one_ambiguous() -> None:
    assert problem_of(glioma(FLAIR, T1, T1C, series(5, uid="1.2.3.26", series_description="FLAIR 2")), tasks=(GLIOMA,)) is None


def test_another_frame_of_reference_is_not_registered_by_a_guess() -> None:
    moved = [replace(h, frame_of_reference_uid="1.8") for h in T1C]
    assert problem_of(glioma(FLAIR, T1, moved), tasks=(GLIOMA,)) is ReasonCode.FRAME_OF_REFERENCE_DIFFERS
    both = [replace(h, sop_instance_uid=h.sop_instance_uid + ".8", series_instance_uid="1.2.3.28") for h in moved]
    assert problem_of(glioma(FLAIR, T1, T1C, both), tasks=(GLIOMA,)) is None


def test_a_referenced_series_that_fits_no_contrast_or_several() -> None:
    def of(description: str):
        images = [replace(h, series_description=description) for h in FLAIR]
        return problem_of(glioma(images, T1, T1C), tasks=(GLIOMA,))

    assert of("DWI") is ReasonCode.CONTRAST_MISSING
    everything = replace(GLIOMA, contrasts=tuple(replace(rule, series_description=".*", contrast_agent=None) for rule in GLIOMA.contrasts))
    assert problem_of(glioma(FLAIR, T1, T1C), tasks=(everything,)) is ReasonCode.CONTRAST_AMBIGUOUS


def test_one_series_is_not_two_contrasts() -> None:
    t1, t1c, flair = GLIOMA.contrasts
    loose = replace(GLIOMA, contrasts=(replace(t1, contrast_agent=None), replace(t1c, contrast_agent=None), flair))
    assert problem_of(glioma(FLAIR, T1C), tasks=(loose,)) is ReasonCode.CONTRAST_AMBIGUOUS


def test_a_gap_in_a_further_contrast_waits() -> None:
    with_gap = T1C[:3] + T1C[4:]
    assert waits_for(glioma(FLAIR, T1, with_gap), tasks=(GLIOMA,)) is ReasonCode.MISSING_SLICE
    assert problem_of(glioma(FLAIR, T1, with_gap), tasks=(GLIOMA,), overdue=True) is ReasonCode.MISSING_SLICE


# ---- identity and succession


def test_the_case_id_names_content_not_order_or_place() -> None:
    images = series(5)
    objects = held(*images, seg(of=images))
    case = case_of(objects)
    elsewhere = [replace(o, path=o.path / "elsewhere") for o in objects]
    assert case_of(elsewhere).case_id == case.case_id
    assert len(case.case_id) == 64
    others = [
        held(*images, stored(seg(of=images), content="other bytes")),
        held(stored(images[0], content="other bytes"), *images[1:], seg(of=images)),
        held(*series(6), seg(of=images)),
        held(*images, seg("1.2.3.5.2", of=images)),
    ]
    assert len({case.case_id, *(case_of(o).case_id for o in others)}) == 5
    assert case_of(objects, tasks=(replace(HEART, name="renamed"),)).case_id != case.case_id
    assert case_of(objects, counts={SERIES: 5}).case_id == case.case_id


def test_a_late_slice_supersedes() -> None:
    images = series(6)
    query = seg(of=images[1:3])
    first = case_of(held(*images[:5], query))
    assert first.predecessor_case_id is None
    second = case_of(held(*images, query), earlier=[EarlierCase.of(first)])
    assert second.case_id != first.case_id
    assert second.predecessor_case_id == first.case_id
    again = case_of(held(*images, query), earlier=[EarlierCase.of(first), EarlierCase.of(second)])
    assert again == second
    other_query = case_of(held(*images, query), earlier=[replace(EarlierCase.of(first), query_sop_instance_uid="1.9")])
    assert other_query.predecessor_case_id is None


def test_images_that_come_after_all_supersede_the_missing_state() -> None:
    images = series(6)
    missing = case_of(held(seg(of=images)), overdue=True)
    found = case_of(held(*images, seg(of=images)), earlier=[EarlierCase.of(missing)])
    assert (found.problem, found.predecessor_case_id) == (None, missing.case_id)


def test_a_judged_query_does_not_wait_again_because_something_else_arrives() -> None:
    images = series(6)
    query = seg(of=images[1:3])
    case = case_of(held(*images, query))
    assert only(match(held(*images, query), earlier=[EarlierCase.of(case)], quiet=False)) == Unchanged(QUERY, case.case_id)
    grown = series(7)
    assert waits_for(held(*grown, query), earlier=[EarlierCase.of(case)], quiet=False) is ReasonCode.IMAGES_MISSING
    missing = case_of(held(query), overdue=True)
    assert only(match(held(query), earlier=[EarlierCase.of(missing)], quiet=False)) == Unchanged(QUERY, missing.case_id)


@pytest.mark.parametrize("kept", [0, 3, 5])
@pytest.mark.parametrize("overdue", [False, True])
def test_purged_images_make_no_new_case(kept, overdue) -> None:
    images = series(6)
    query = seg(of=images[1:3])
    case = case_of(held(*images, query))
    outcome = only(match(held(*images[:kept], query), earlier=[EarlierCase.of(case)], overdue=overdue))
    assert outcome == Unchanged(QUERY, case.case_id)


def test_images_that_only_the_latest_case_had_are_purged() -> None:
    images = series(6)
    query = seg(of=images[1:3])
    cases = [case_of(held(*images[:n], query)) for n in (5, 6)]
    outcome = only(match(held(*images[:5], query), earlier=[EarlierCase.of(case) for case in cases]))
    assert outcome == Unchanged(QUERY, cases[1].case_id)


# ---- corrections


def corrections(*queries: InstanceHeader, images=None, tasks=(HEART,)) -> dict[str, str | None]:
    images = series(5) if images is None else images
    outcomes = match(held(*images, *queries), tasks=tasks, overdue=True)
    return {o.case.query.sop_instance_uid: o.case.corrects_query_uid for o in outcomes}


def later(uid: str, of, **fields) -> InstanceHeader:
    return seg(uid, of=of, **({"series_instance_uid": uid + ".0", "content_datetime": "20240101130000.5"} | fields))


def test_the_same_equipment_on_the_same_stack_corrects_itself() -> None:
    images = series(5)
    first, second = seg(of=images), later("1.2.3.5.2", images[:3])
    third = later("1.2.3.5.3", images, content_datetime="202401011400")
    assert corrections(first, second, third) == {QUERY: None, "1.2.3.5.2": QUERY, "1.2.3.5.3": "1.2.3.5.2"}


@pytest.mark.parametrize(
    "change",
    [
        {"manufacturer": "Other"},
        {"device_model": "Other"},
        {"series_description": "another output of the product"},
        {"content_datetime": "20240101120000"},
        {"content_datetime": ""},
        {"segments": (segment(1, RV),)},
    ],
    ids=str,
)
def test_two_segmenters_or_two_structures_are_no_correction(change) -> None:
    images = series(5)
    assert corrections(seg(of=images), later("1.2.3.5.2", images, **change)) == {QUERY: None, "1.2.3.5.2": None}


def test_nothing_is_known_of_equipment_without_a_name() -> None:
    images, unnamed = series(5), {"manufacturer": "", "device_model": ""}
    assert corrections(seg(of=images, **unnamed), later("1.2.3.5.2", images, **unnamed)) == {QUERY: None, "1.2.3.5.2": None}


def test_without_images_nothing_says_that_two_segs_are_of_one_stack() -> None:
    assert corrections(seg(of=series(5)), later("1.2.3.5.2", series(5)), images=[]) == {QUERY: None, "1.2.3.5.2": None}


def test_segs_for_two_tasks_are_no_correction() -> None:
    other = TaskRule("other", (replace(LV, codes=(("LV", "99MAKER"),), label_pattern="(?!)"),), HEART.tissues, HEART.contrasts)
    coded_otherwise = seg(of=series(5), segments=(segment(label="", property_type=("LV", "99MAKER", "LV")),))
    assert corrections(coded_otherwise, later("1.2.3.5.2", series(5)), tasks=(HEART, other)) == {QUERY: None, "1.2.3.5.2": None}


def test_segs_of_two_phases_are_no_correction_even_in_one_series() -> None:
    images = series(5, 2)
    diastole, systole = seg(of=phase(images, 0)), later("1.2.3.5.2", phase(images, 1), series_instance_uid="1.2.3.5")
    assert corrections(diastole, systole, images=images) == {QUERY: None, "1.2.3.5.2": None}


def test_the_same_series_with_the_same_segments_is_a_correction_whatever_the_equipment() -> None:
    images = series(5)
    edited = later("1.2.3.5.2", images, series_instance_uid="1.2.3.5", manufacturer="Editor")
    assert corrections(seg(of=images), edited)["1.2.3.5.2"] == QUERY
    more = replace(edited, segments=(*edited.segments, segment(3, RV)))
    assert corrections(seg(of=images), more)["1.2.3.5.2"] is None


def test_a_named_predecessor_is_corrected_whatever_the_rest_says() -> None:
    images = series(5)
    named = later("1.2.3.5.2", images, manufacturer="Other", content_datetime="", predecessor_uids=("1.gone", QUERY))
    assert corrections(seg(of=images), named)["1.2.3.5.2"] == QUERY
    assert corrections(replace(named, predecessor_uids=("1.gone",)))["1.2.3.5.2"] == "1.gone"


def test_two_segs_never_correct_each_other() -> None:
    images = series(5)
    successor = seg(of=images, predecessor_uids=("1.2.3.5.2",))  # made earlier, by its clock
    assert corrections(successor, later("1.2.3.5.2", images)) == {QUERY: "1.2.3.5.2", "1.2.3.5.2": None}
    circle = later("1.2.3.5.2", images, predecessor_uids=(QUERY,))
    assert set(corrections(successor, circle).values()) == {None}


# ---- all orders, and real series


def test_every_prefix_of_every_order_ends_in_the_same_case() -> None:
    images = series(4, 2)
    objects = held(*images, seg(of=phase(images, 1)[1:3]))
    expected = case_of(objects).case_id
    for seed in range(20):
        order = list(objects)
        random.Random(seed).shuffle(order)
        made = set()
        for n in range(1, len(order) + 1):
            outcomes = match_study(order[:n], (HEART,), quiet=n == len(order), archive_counts={})
            made |= {o.case.case_id for o in outcomes if isinstance(o, Matched)}
        assert made == {expected}


REAL = [
    "ge/epi-2-timepoints-interleaved",
    "philips/epi-oblique-3-timepoints",
    "philips/dual-echo-mag-phase",
    "philips/fmri-enhanced-timepoints",
    "philips/b0map-enhanced",
]


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_a_seg_on_each_stack_of_a_real_series_finds_exactly_that_stack(name, realdata) -> None:
    paths = sorted((realdata / "dicom" / name).glob("*.dcm"))
    # two of the sets have no frame of reference, which is a problem of its own
    headers = [replace(h, frame_of_reference_uid=h.frame_of_reference_uid or FRAME_OF_REFERENCE) for h in map(read_header, paths)]
    images = [StoredHeader(h, p, p.name) for h, p in zip(headers, paths, strict=True)]
    stacks = split_stacks(images)
    assert len(stacks) > 1
    for stack in stacks:
        drawn_on = stack.planes[1:3]  # two slices only: the whole stack must be found
        header = drawn_on[0].stored.header
        drawn = [
            FrameHeader(i, p.frame.image_position, p.frame.image_orientation, p.frame.pixel_spacing, source_instances=(_source(p),))
            for i, p in enumerate(drawn_on, start=1)
        ]
        query = seg(frames=drawn, study_instance_uid=header.study_instance_uid, frame_of_reference_uid=header.frame_of_reference_uid)
        case = case_of([*images, stored(query)])
        assert case.problem is None
        assert gap_free(stack)
        assert set(frames_of(case)) == stack.plane_keys


def _source(plane) -> tuple[str, int | None]:
    uid, number = plane.key
    return uid, number if len(plane.stored.header.frames) > 1 else None


@pytest.mark.realdata
def test_a_seg_by_highdicom_on_the_second_time_point(realdata) -> None:
    """GE writes one time point after the other: the last 15 files are what the scanner means, whatever split_stacks says."""
    paths = sorted((realdata / "dicom/ge/epi-2-timepoints-interleaved").glob("*.dcm"))
    images = sorted((StoredHeader(read_header(p), p, p.name) for p in paths), key=lambda s: s.header.instance_number)
    second = images[15:]
    query = header_of(_segmentation([dcmread(s.path) for s in second]))
    case = only(match([*images, stored(query)])).case
    assert {uid for uid, _ in frames_of(case)} == {s.header.sop_instance_uid for s in second}
    assert case.problem is None
    assert len([f for f in query.frames if f.source_instances]) == 4


def _segmentation(sources: list[Dataset]) -> Segmentation:
    """The left ventricle on four of the slices; empty frames are left out."""
    for source in sources:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            source.setdefault(keyword, "")
    pixels = np.zeros((len(sources), sources[0].Rows, sources[0].Columns), np.uint8)
    pixels[4:8, 20:30, 20:30] = 1
    ventricle = SegmentDescription(
        segment_number=1,
        segment_label="LV",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=Code("87878005", "SCT", "Left ventricle"),
        algorithm_type=SegmentAlgorithmTypeValues.MANUAL,
    )
    return Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[ventricle],
        series_instance_uid="2.25.1",
        series_number=100,
        sop_instance_uid="2.25.2",
        instance_number=1,
        manufacturer="Maker",
        manufacturer_model_name="Segmenter",
        software_versions="1",
        device_serial_number="1",
    )
