"""Features and p-values of novelty: finite for every input, blind to how a stack lies, and small only where nothing alike was seen."""

import numpy as np
import pytest
from scipy import ndimage

from qcnode.assess.model_card import FeatureGroup, NoveltyTest
from qcnode.assess.novelty import image_features, is_novel, p_value, query_features, scores
from qcnode.demo.phantom import good_query, make_phantom
from qcnode.errors import ConfigurationError
from qcnode.imaging.preprocess import normalise

NOTHING: dict[str, np.ndarray] = {}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(7)


@pytest.fixture(scope="module")
def probabilities(phantom):
    return np.stack([ndimage.gaussian_filter(t.astype(np.float32), (0, 1, 1)) for t in phantom.reference])


def by_name(features):
    return dict(zip(features[0], features[1].tolist(), strict=True))


@pytest.mark.parametrize("size", [(1, 8, 8), (3, 1, 1), (5, 40, 30), (1, 1, 1), (2, 3, 2)])
@pytest.mark.parametrize("tissues", [1, 3])
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_features_are_finite_whatever_comes(size, tissues, level):
    flat, share = np.full(size, level, np.float32), np.full((tissues, *size), level / tissues, np.float32)
    names, vector = image_features(flat, share, {"field": np.array([1.0, np.nan]), "pooled": np.array([np.inf])})
    assert len(names) == len(set(names)) == len(vector)
    assert np.isfinite(vector).all()
    for query in (np.zeros((tissues, *size), bool), np.ones((tissues, *size), bool)):
        names, vector = query_features(query)
        assert len(names) == len(set(names)) == len(vector)
        assert np.isfinite(vector).all()


def test_how_the_stack_lies_does_not_matter(phantom, probabilities):
    values = normalise(phantom.volume.array)
    expected, shape = image_features(values, probabilities, NOTHING)[1], query_features(phantom.reference)[1]
    for turn in (lambda a: a[..., ::-1, :, :], lambda a: a[..., ::-1], lambda a: np.rot90(a, 1, (-2, -1))):
        np.testing.assert_allclose(image_features(turn(values), turn(probabilities), NOTHING)[1], expected, atol=1e-4)
        np.testing.assert_allclose(query_features(turn(phantom.reference))[1], shape, atol=1e-9)


def test_probabilities_count_as_training_keeps_them(phantom, probabilities):
    values = normalise(phantom.volume.array)
    stored = np.rint(probabilities * 255).astype(np.uint8) / np.float32(255)
    np.testing.assert_allclose(image_features(values, stored, NOTHING)[1], image_features(values, probabilities, NOTHING)[1], atol=1e-6)


def test_one_tissue_has_no_neighbours(phantom, probabilities):
    names, _ = image_features(normalise(phantom.volume.array), probabilities[:1], NOTHING)
    assert not [n for n in names if "contact" in n]


def test_a_ring_of_muscle_touches_the_cavity(phantom, probabilities):
    found = by_name(image_features(normalise(phantom.volume.array), phantom.reference.astype(np.float32), NOTHING))
    assert found["anatomy/contact-2-1"] > 0.95  # the left ventricle lies in the muscle
    assert 0.3 < found["anatomy/contact-1-2"] < 0.7
    torn = phantom.reference.astype(np.float32)
    torn[2] = np.roll(torn[2], 90, -1)
    assert by_name(image_features(normalise(phantom.volume.array), torn, NOTHING))["anatomy/contact-2-1"] < 0.2


def test_blur_and_noise_move_the_texture(phantom, probabilities):
    plain = by_name(image_features(normalise(phantom.volume.array), probabilities, NOTHING))
    blurred = by_name(image_features(normalise(ndimage.gaussian_filter(phantom.volume.array, (0, 3, 3))), probabilities, NOTHING))
    noise = np.random.default_rng(3).random(phantom.volume.array.shape, np.float32)
    noisy = by_name(image_features(normalise(noise), probabilities, NOTHING))
    assert blurred["texture/box-fine"] < plain["texture/box-fine"] - 0.3
    assert abs(noisy["texture/box-fine"]) < 0.05
    assert blurred["texture/box-noise"] < plain["texture/box-noise"] < noisy["texture/box-noise"]


def test_an_unsure_pseudo_reference_shows(phantom, probabilities):
    values = normalise(phantom.volume.array)
    sure, unsure = (by_name(image_features(values, p, NOTHING)) for p in (probabilities, 0.55 * probabilities + 0.05))
    assert unsure["anatomy/doubt"] > sure["anatomy/doubt"] + 0.5
    assert unsure["anatomy/entropy"] > sure["anatomy/entropy"]


def test_speckle_has_a_grain_and_a_contour_none(phantom):
    drawn = by_name(query_features(good_query(phantom)))
    speckle = by_name(query_features(np.random.default_rng(2).random(phantom.reference.shape) < 0.2))
    assert speckle["grain/chequered"] > drawn["grain/chequered"] + 0.3
    assert speckle["grain/thin"] > drawn["grain/thin"] + 0.3
    assert speckle["shape/outline-all"] > drawn["shape/outline-all"] + 1
    everything = by_name(query_features(np.ones_like(phantom.reference)))
    assert everything["shape/rim"] == everything["shape/size-all"] == 1.0


GROUPS = (
    FeatureGroup(name="a", features=("a/1", "a/2"), centre=(1.0, 2.0), whitening=((2.0, 0.0), (0.0, 1.0)), typical=2.0),
    FeatureGroup(name="b", features=("b/1",), centre=(0.0,), whitening=((1.0,),), typical=1.0),
)
TEST = NoveltyTest(groups=GROUPS, scores=(0.5, 1.0, 2.0), tail=(1.0, 0.6, 0.1), patients=99, cut=0.02)
NAMES = ("b/1", "a/1", "unknown", "a/2")


def vector(a1, a2, b1):
    return np.array([b1, a1, 1e9, a2])


def test_scores_by_hand():
    found = scores(GROUPS, NAMES, np.stack([vector(1.0, 2.0, 0.0), vector(2.5, 6.0, 1.0)]))
    assert found.tolist() == pytest.approx([0.0, (5.0 / 2 + 1.0) / 2])


@pytest.mark.parametrize(("b1", "expected"), [(0.0, 1.0), (1.0, 1.0), (1.5, 0.604), (2.0, 0.604), (4.0, 0.109), (4.1, 0.01)])
def test_p_values_by_hand(b1, expected):
    p = p_value(TEST, NAMES, vector(1.0, 2.0, b1))
    assert p == pytest.approx(expected)
    assert is_novel(TEST, p) == (b1 > 4)


def test_a_card_of_other_features_is_refused():
    with pytest.raises(ConfigurationError, match="a/2"):
        p_value(TEST, ("a/1", "b/1"), np.zeros(2))
