"""Packaged weights on phantoms: right verdicts, the error map on the right voxels, whatever the grid's orientation."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from qcnode.assess import metrics
from qcnode.assess.inference import QCPredictor
from qcnode.assess.inputs import PseudoReference, agreement_of, network_inputs, number_count, numbers
from qcnode.assess.metrics import Reference
from qcnode.assess.model_card import load_card
from qcnode.case import ReasonCode
from qcnode.demo.phantom import bad_query_missing_base, bad_query_shifted, good_query, make_phantom
from qcnode.errors import ConfigurationError, Rejected
from qcnode.imaging.grid import Grid, Volume
from qcnode.imaging.preprocess import Orientation, square_frame

PACKAGED = Path(__file__).parents[1] / "qcnode" / "models" / "cardiac-sax"
THRESHOLD, REVIEW_BAND = 0.75, 0.05


@pytest.fixture(scope="module")
def predictor():
    return QCPredictor(PACKAGED, device="cpu")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(1)


def turned(volume, query, order, flip):
    """The same patient on a grid with other array axes."""
    orientation = Orientation(order, flip)
    array = np.ascontiguousarray(orientation.apply(volume.array))
    grid = volume.grid
    corner = [(n - 1 if f else 0) for n, f in zip((grid.size[a] for a in order), flip, strict=True)]
    start = np.zeros(3)
    for axis, value in zip(order, corner, strict=True):
        start[axis] = value
    origin = grid.affine[:3, :3] @ start + np.asarray(grid.origin)
    signs = [-1.0 if f else 1.0 for f in flip]
    directions = tuple(tuple(s * v for v in grid.direction[a]) for a, s in zip(order, signs, strict=True))
    spacing = tuple(grid.spacing[a] for a in order)
    moved = Volume(array, Grid(array.shape, spacing, tuple(origin), directions))
    return moved, np.ascontiguousarray(orientation.apply(query)), orientation


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_demonstrations_verdicts(predictor, seed):
    phantom = make_phantom(seed)
    looked = predictor.look({"cine": phantom.volume})
    good = predictor.judge(looked, good_query(phantom))
    assert good.predicted_dsc > THRESHOLD + REVIEW_BAND
    for bad in (bad_query_shifted(phantom), bad_query_missing_base(phantom)):
        found = predictor.judge(looked, bad)
        assert found.predicted_dsc < THRESHOLD - REVIEW_BAND
        assert metrics.error_map_dsc(found.error_map, bad ^ phantom.reference) >= 0.6
        assert found.box[0] == (0, phantom.volume.grid.size[0])  # lost slices are judged over the whole stack


def test_a_prediction_is_complete_and_repeatable(predictor, phantom):
    query = good_query(phantom)
    first, second = (predictor.predict({"cine": phantom.volume}, query) for _ in range(2))
    assert first.predicted_dsc == second.predicted_dsc
    np.testing.assert_array_equal(first.error_map, second.error_map)
    assert first.error_map.shape == query.shape
    assert first.error_map.dtype == bool
    assert first.tissues == tuple(first.per_tissue_dsc) == ("right ventricle", "myocardium", "left ventricle")
    assert first.device == "CPU"
    assert first.notes == ()
    assert predictor.weights.sha256 == load_card(PACKAGED).digest()


@pytest.mark.parametrize(
    ("order", "flip"),
    [
        ((0, 1, 2), (True, False, False)),
        ((0, 2, 1), (False, False, True)),
        ((0, 1, 2), (False, True, True)),
        ((0, 2, 1), (True, True, False)),
    ],
)
def test_the_answer_does_not_depend_on_the_arrays_orientation(predictor, phantom, order, flip):
    query = bad_query_shifted(phantom)
    straight = predictor.predict({"cine": phantom.volume}, query)
    volume, moved, orientation = turned(phantom.volume, query, order, flip)
    found = predictor.predict({"cine": volume}, moved)
    assert found.predicted_dsc == pytest.approx(straight.predicted_dsc, abs=1e-4)
    back = orientation.undo(found.error_map)
    assert (back == straight.error_map).mean() > 0.9999


def test_units_of_intensity_do_not_matter(predictor, phantom):
    query = good_query(phantom)
    other = dataclasses.replace(phantom.volume, array=phantom.volume.array * 7 + 300)
    first, second = (predictor.predict({"cine": v}, query).predicted_dsc for v in (phantom.volume, other))
    assert first == pytest.approx(second, abs=5e-3)


def test_an_empty_query_is_judged_bad(predictor, phantom):
    found = predictor.predict({"cine": phantom.volume}, np.zeros_like(phantom.reference))
    assert found.predicted_dsc < 0.3


def test_tissue_outside_of_the_box_is_noted(predictor):
    depth = predictor.card.preprocessing.size[0] + 10
    grid = Grid((depth, 48, 48), (8.0, 1.5, 1.5), (0, 0, 0), ((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    volume = Volume(np.random.default_rng(0).random((depth, 48, 48)).astype(np.float32), grid)
    query = np.zeros((3, depth, 48, 48), bool)
    query[2, :, 20:30, 20:30] = True
    found = predictor.predict({"cine": volume}, query)
    assert [n.code for n in found.notes] == [ReasonCode.PARTIAL_COVERAGE]
    assert found.error_map.shape == query.shape


def test_wrong_input_is_refused(predictor, phantom):
    with pytest.raises(Rejected, match="contrast"):
        predictor.predict({}, phantom.reference)
    with pytest.raises(Rejected, match="grid"):
        predictor.predict({"cine": phantom.volume}, phantom.reference[:, :-1])


def test_devices():
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="no GPU"):
            QCPredictor(PACKAGED, device="cuda")
    assert QCPredictor(PACKAGED).device


def test_numbers_count_and_meet_their_limits():
    reference = np.zeros((3, 4, 20, 20), bool)
    reference[:, 1:3, 5:15, 5:15] = True
    pseudo = PseudoReference(reference.astype(np.float32) / 3, reference, {})
    frame = square_frame((4, 20, 20), Orientation(), reference.any(0), margin=0.1, side=32, most_slices=8)
    for query in (reference, np.zeros_like(reference)):
        given = numbers(query, pseudo, Reference(reference, (8.0, 1.5, 1.5), 2.0))
        inputs = network_inputs(frame, np.ones((1, 4, 20, 20), np.float32), query, pseudo.probabilities, given)
        assert inputs.numbers.shape == (number_count(3),)
        assert np.isfinite(inputs.numbers).all()
        assert np.abs(inputs.numbers).max() <= 4
        assert agreement_of(given)[0] == pytest.approx(0.98 if query.any() else 0.02)
        assert inputs.query.shape == inputs.probabilities.shape == inputs.error_start.shape == (3, 4, 32, 32)
