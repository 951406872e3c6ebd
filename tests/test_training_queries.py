"""Plans of queries: repeatable, over the whole range of quality, for hearts and for isotropic volumes of one structure; blends."""

import numpy as np
import pytest

from qcnode.assess import metrics
from training.edits import EDITS, WHOLE_GRID_EDITS, Edit
from training.queries import KINDS, SEGGEN, STRUCTURED, Plan, apply_plan, blend, draw_plan
from training.targets import tissue_channels

THREE = ((1,), (2,), (3,))


@pytest.fixture(scope="module")
def heart():
    """Six slices of three structures, thick."""
    z, y, x = np.ogrid[:8, :96, :96]
    radius = np.hypot(y - 48, x - 52) + 0 * z
    labels = np.where(radius < 12, 3, np.where(radius < 18, 2, np.where(np.hypot(y - 48, x - 30) + 0 * z < 11, 1, 0))).astype(np.uint8)
    labels[[0, 7]] = 0
    return labels


@pytest.fixture(scope="module")
def atrium():
    """Forty slices of one structure, as thin as pixels are wide, reaching the volume's edge."""
    z, y, x = np.ogrid[:44, :99, :71]
    return ((((z - 22) / 20.5) ** 2 + ((y - 45) / 30) ** 2 + ((x - 30) / 31) ** 2) < 1).astype(np.uint8)


def dsc(query, reference):
    return metrics.dsc(tissue_channels(query, THREE), tissue_channels(reference, THREE))


def query_of(reference, *edits, foreign=None):
    return apply_plan(Plan("test", edits), reference, foreign)


def filled(labels):
    return np.flatnonzero(labels.any((1, 2))).tolist()


@pytest.mark.parametrize(("name", "depth", "structures"), [("heart", 6, 3), ("atrium", 41, 1)])
def test_plans_are_repeatable_and_leave_the_reference_alone(request, name, depth, structures):
    reference = request.getfixturevalue(name)
    before = reference.copy()
    for kind in KINDS if structures > 1 else set(KINDS) - {"lost-tissue", "swapped-tissues", "merged-tissues"}:
        for seed in (1, 2):
            plan = draw_plan(np.random.default_rng(seed), depth, structures, [kind])
            assert plan == draw_plan(np.random.default_rng(seed), depth, structures, [kind])
            first = apply_plan(plan, reference, np.roll(reference, 5, 2))
            np.testing.assert_array_equal(first, apply_plan(plan, reference, np.roll(reference, 5, 2)))
            assert first.dtype == np.uint8
            assert first.shape == reference.shape
            assert first.max() <= structures
    np.testing.assert_array_equal(reference, before)


@pytest.mark.parametrize(("name", "depth", "structures"), [("heart", 6, 3), ("atrium", 41, 1)])
def test_the_whole_range_of_quality_occurs(request, name, depth, structures):
    reference = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    plans = [draw_plan(rng, depth, structures) for _ in range(80)]
    values = [dsc(apply_plan(p, reference, np.roll(reference, 5, 2)), reference) for p in plans]
    assert (np.histogram(values, np.linspace(0, 1.0001, 6))[0] > 0).all()


def test_every_kind_and_every_edit_is_drawn():
    rng = np.random.default_rng(1)
    plans = [draw_plan(rng, 8, 3) for _ in range(1500)]
    assert {p.kind for p in plans} == set(KINDS)
    assert {e.name for p in plans for e in p.edits} == {*EDITS, *WHOLE_GRID_EDITS, "foreign"}
    single = {draw_plan(rng, 40, 1).kind for _ in range(1000)}
    assert single == set(KINDS) - {"lost-tissue", "swapped-tissues", "merged-tissues"}


def test_groups_and_a_choice_of_kinds():
    assert {Plan(k, ()).group for k in SEGGEN} == {"seggen"}
    assert {Plan(k, ()).group for k in STRUCTURED} == {"structured"}
    rng = np.random.default_rng(2)
    assert {draw_plan(rng, 8, 3, SEGGEN).kind for _ in range(100)} == set(SEGGEN)
    with pytest.raises(ValueError, match="1 structure"):
        draw_plan(rng, 8, 1, ["swapped-tissues"])


@pytest.mark.parametrize(
    ("edit", "low", "high"),
    [
        (Edit("similarity", (0.0, 1.0, 0.0, 0.0)), 1.0, 1.0),
        (Edit("similarity", (10.0, 1.1, 2.0, -3.0)), 0.4, 0.85),
        (Edit("deform", (1.0, 8.0), 3), 0.8, 0.999),
        (Edit("jitter", (2.0,), 3), 0.6, 0.95),
        (Edit("grow", (0.0, 2.0)), 0.8, 0.97),
        (Edit("grow", (3.0, -2.0)), 0.85, 0.97),
        (Edit("coarse", (5.0,)), 0.7, 0.97),
        (Edit("lose", (2.0, 0.0, 0.0), 1), 0.75, 0.85),
        (Edit("stale", (1.0,), 1), 0.7, 0.95),
        (Edit("swap", (1.0, 3.0)), 0.3, 0.7),
        (Edit("merge", (1.0, 3.0)), 0.5, 0.8),
        (Edit("drop", (3.0,)), 0.6, 0.9),
        (Edit("blob", (1.0, 9.0, 0.0), 2), 0.5, 0.98),
        (Edit("mirror"), 0.15, 0.8),
        (Edit("displace", (1 / 8, 0.0, 0.0)), 0.8, 0.86),
        (Edit("displace", (0.0, 0.05, 0.0)), 0.4, 0.9),
        (Edit("empty"), 0.0, 0.0),
    ],
)
def test_edits(heart, edit, low, high):
    assert low <= dsc(query_of(heart, edit), heart) <= high


@pytest.mark.parametrize(("where", "left"), [(0.0, [3, 4, 5, 6]), (1.0, [1, 2, 3, 4])])
def test_basal_slices_are_the_first_and_apical_ones_the_last(heart, where, left):
    assert filled(query_of(heart, Edit("lose", (2.0, where, 0.0)))) == left


def test_missing_slices_are_of_the_end_that_their_kind_names(heart):
    for kind, kept in (("missing-basal", 6), ("missing-apical", 1)):
        for seed in range(10):
            edits = [e for e in draw_plan(np.random.default_rng(seed), 6, 3, [kind]).edits if e.name == "lose"]
            query = query_of(heart, *edits)
            assert dsc(query, heart) < 1
            np.testing.assert_array_equal(query[kept], heart[kept])


def test_a_run_of_slices_or_one_structure_of_them_can_be_missing(atrium, heart):
    gone = sorted(set(filled(atrium)) - set(filled(query_of(atrium, Edit("lose", (7.0, 3.0, 0.0), 4)))))
    assert gone == list(range(gone[0], gone[0] + 7))
    query = query_of(heart, Edit("lose", (2.0, 0.0, 3.0)))
    np.testing.assert_array_equal(query != heart, (heart == 3) & np.isin(np.arange(8), [1, 2])[:, None, None])


def test_structures_are_swapped_merged_and_lost(heart):
    swapped = query_of(heart, Edit("swap", (1.0, 3.0)))
    np.testing.assert_array_equal(swapped == 1, heart == 3)
    np.testing.assert_array_equal(swapped == 3, heart == 1)
    merged = query_of(heart, Edit("merge", (2.0, 3.0)))
    np.testing.assert_array_equal(merged == 3, heart >= 2)
    np.testing.assert_array_equal(query_of(heart, Edit("drop", (2.0,))) > 0, (heart == 1) | (heart == 3))


def test_a_displaced_segmentation_keeps_its_shape_and_is_lost_beyond_the_edge(heart):
    moved = query_of(heart, Edit("displace", (1 / 8, -12 / 96, 24 / 96)))
    np.testing.assert_array_equal(moved, np.roll(heart, (1, -12, 24), (0, 1, 2)))
    cut = query_of(heart, Edit("displace", (0.0, 0.0, 0.5)))
    assert 0 < np.count_nonzero(cut) < np.count_nonzero(heart)
    assert not cut[..., :48].any()
    assert not query_of(heart, Edit("displace", (0.0, 0.7, -1.5))).any()


@pytest.mark.parametrize("way", [0, 1, 2, 3])
def test_a_wrong_orientation_turns_the_whole_grid(heart, way):
    off_centre = np.roll(heart, (1, 9), (0, 1))
    expected = off_centre.swapaxes(1, 2) if way == 3 else np.flip(off_centre, way)
    np.testing.assert_array_equal(query_of(off_centre, Edit("flip", (float(way),))), expected)


def test_exchanged_axes_of_an_oblong_grid_keep_its_shape(atrium):
    turned = query_of(atrium, Edit("flip", (3.0,)))
    assert turned.shape == atrium.shape
    assert 0.5 < dsc(turned, atrium) < 0.99


def test_another_patient_is_put_in_the_place_of_this_one(heart):
    foreign = np.zeros((5, 80, 70), np.uint8)
    foreign[1:4, 10:30, 10:24] = 2
    placed = query_of(heart, Edit("foreign", (1.0,)), foreign=foreign)
    assert filled(placed) == filled(heart)
    assert np.count_nonzero(placed) == 6 * 20 * 14
    assert np.abs(np.argwhere(placed.any(0)).mean(0) - np.argwhere(heart.any(0)).mean(0)).max() <= 1
    np.testing.assert_array_equal(query_of(heart, Edit("foreign", (1.0,))), heart)  # no other patient at hand


def test_errors_of_thin_slices_resemble_their_neighbours(atrium):
    """Contours of thin slices move together: less changes from slice to slice than if each were drawn apart."""
    for edit in (Edit("deform", (3.0, 8.0), 5), Edit("jitter", (2.0,), 5)):
        query = query_of(atrium, edit)[12:32].astype(int)
        still = atrium[12:32].astype(int)
        jumps = np.abs(np.diff(query, axis=0)).sum() - np.abs(np.diff(still, axis=0)).sum()
        assert 0 < jumps < 0.5 * np.abs(query - still).sum()


def test_a_leak_is_as_deep_as_it_is_wide_in_thin_slices(atrium, heart):
    leak = query_of(atrium, Edit("blob", (1.0, 12.0, 0.0), 7)) != atrium
    assert len(filled(leak)) >= 8
    assert 1 <= len(filled(query_of(heart, Edit("blob", (1.0, 12.0, 0.0), 7)) != heart)) <= 8


def test_an_empty_reference_stays_empty():
    nothing = np.zeros((4, 20, 20), np.uint8)
    for kind in KINDS:
        assert not apply_plan(draw_plan(np.random.default_rng(3), 1, 3, [kind]), nothing, nothing + 1).any()


@pytest.mark.parametrize(("name", "structures"), [("heart", 3), ("atrium", 1)])
def test_blends_lie_between_the_reference_and_the_network(request, name, structures):
    reference = request.getfixturevalue(name)
    network = np.roll(reference, 6, 1)
    groups = tuple((i + 1,) for i in range(structures))
    probabilities = 0.8 * tissue_channels(network, groups).astype(np.float32)
    values = []
    for seed in range(12):
        mixed = blend(np.random.default_rng(seed), reference, probabilities)
        np.testing.assert_array_equal(mixed, blend(np.random.default_rng(seed), reference, probabilities))
        assert mixed.dtype == np.uint8
        assert ((mixed == reference) | (mixed == network) | (mixed == 0)).all()
        values.append(dsc(mixed, reference))
    assert min(values) == pytest.approx(dsc(network, reference))  # now and then the network's alone
    assert max(values) > min(values) + 0.1
