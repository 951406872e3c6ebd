"""Degraded volumes: repeatable, on the scale of the original, and each artefact does what it is called after."""

import numpy as np
import pytest
from scipy import ndimage

from training.degrade import DEGRADATIONS, Degradation, degrade, draw_degradation

THICK, EVEN = (10.0, 1.5, 1.5), (1.25, 1.25, 1.25)


@pytest.fixture(scope="module")
def volume():
    """A textured disc in air, (z, y, x)."""
    y, x = np.ogrid[:96, :96]
    disc = (np.hypot(y - 40, x - 44) < 18).astype(float)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(6, 96, 96)), (0, 1, 1))
    return (200 * ndimage.gaussian_filter(disc, 0.7) * (1 + 0.5 * texture)).clip(0).astype(np.float32)


def fine_energy(values):
    """Energy above half of the highest frequency in the plane."""
    space = np.abs(np.fft.fft2(values - values.mean((1, 2), keepdims=True))) ** 2
    down, across = np.abs(np.fft.fftfreq(values.shape[1])), np.abs(np.fft.fftfreq(values.shape[2]))
    return float(space[:, (down[:, None] > 0.25) | (across > 0.25)].sum())


def change(values, name, strength, spacing=THICK, seed=5):
    return degrade(values, Degradation(name, strength, seed), spacing)


@pytest.mark.parametrize("spacing", [THICK, EVEN])
@pytest.mark.parametrize("name", DEGRADATIONS)
def test_repeatable_finite_and_stronger_with_strength(volume, name, spacing):
    before = volume.copy()
    changed = {s: change(volume, name, s, spacing) for s in (0.3, 1.0)}
    for strength, values in changed.items():
        assert values.dtype == np.float32
        assert values.shape == volume.shape
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, change(volume, name, strength, spacing))
    weak, strong = (float(np.abs(changed[s] - volume).mean()) for s in (0.3, 1.0))
    assert 0 < weak < strong
    np.testing.assert_array_equal(volume, before)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_the_scale_of_the_intensities_does_not_matter(volume, name):
    np.testing.assert_allclose(change(volume * 37 - 400, name, 0.7), change(volume, name, 0.7) * 37 - 400, rtol=1e-3, atol=2)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_nothing_is_done_at_strength_0_or_to_an_even_volume(volume, name):
    np.testing.assert_array_equal(change(volume, name, 0.0), volume)
    flat = np.full((2, 16, 16), 7, np.float32)
    np.testing.assert_array_equal(change(flat, name, 1.0), flat)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_small_and_odd_sizes(name):
    values = np.random.default_rng(2).random((1, 33, 20)).astype(np.float32)
    assert change(values, name, 1.0).shape == (1, 33, 20)


def test_noise_raises_and_blur_and_gibbs_lower_what_is_fine(volume):
    assert fine_energy(change(volume, "noise", 0.5)) > 3 * fine_energy(volume)
    assert fine_energy(change(volume, "blur", 0.5)) < 0.3 * fine_energy(volume)
    assert fine_energy(change(volume, "gibbs", 1.0)) < 0.3 * fine_energy(volume)


def test_noise_in_air_is_rician(volume):
    air = change(volume, "noise", 1.0)[:, 70:, 70:]
    assert air.min() > 0
    assert air.mean() / air.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.05)  # Rayleigh's


def test_gibbs_rings_into_air():
    square = np.zeros((1, 64, 64), np.float32)
    square[:, 20:44, 20:44] = 1
    rung = change(square, "gibbs", 0.6)
    assert rung[0, 32, 4:18].max() > 0.02
    assert rung.max() > 1.05


def test_ghosts_lie_at_the_shifted_copy(volume):
    seen = set()
    for seed in range(12):
        left = (change(volume, "ghosting", 0.8, seed=seed) - volume)[2]
        for axis in (0, 1):
            for period in (2, 3, 4, 5):
                copy = sum(np.roll(volume[2], round(way * 96 / period), axis) for way in (-1, 1))
                if np.corrcoef(left.ravel(), copy.ravel())[0, 1] > 0.8:
                    seen.add((axis, period))
    assert {axis for axis, _ in seen} == {0, 1}
    assert len({period for _, period in seen}) >= 3


def test_motion_is_of_each_thick_slice_but_common_to_thin_ones(volume):
    same = np.repeat(volume[:1], 4, 0)
    thick, thin = change(same, "motion", 0.8), change(same, "motion", 0.8, EVEN)
    assert np.abs(thick[0] - thick[1]).max() > 10
    np.testing.assert_allclose(thin[0], thin[1], atol=1e-2)
    outside = np.hypot(*(np.ogrid[:96, :96][a] - m for a, m in ((0, 40), (1, 44)))) > 30
    assert thick[0][outside].mean() > 5 * same[0][outside].mean() + 1


def test_motion_leaves_things_where_they_are(volume):
    """The labels stay right: the middle of what is bright hardly moves."""
    moved = [ndimage.center_of_mass(change(volume, "motion", 0.7, seed=s).mean(0) ** 2) for s in range(6)]
    still = ndimage.center_of_mass(volume.mean(0) ** 2)
    assert np.abs(np.array(moved) - still).max() < 4


def test_bias_field_is_a_smooth_factor_and_slices_differ_by_a_gain(volume):
    inside = volume > 100
    factor = change(volume, "bias-field", 1.0)[inside] / volume[inside]
    assert factor.max() / factor.min() > 1.3
    field = change(np.where(volume > 0, 100, 0).astype(np.float32), "bias-field", 1.0)
    assert np.abs(np.diff(field[2, 30:50, 30:58], axis=1)).max() < 0.1 * field[2, 30:50, 30:58].max()
    gains = change(volume, "uneven-slices", 1.0).sum((1, 2)) / volume.sum((1, 2))
    assert gains.max() / gains.min() > 1.5


def test_blur_goes_through_thin_slices_only(volume):
    single = np.zeros_like(volume)
    single[2, 40, 40] = 1000
    single[0] = volume[0]
    assert change(single, "blur", 0.8)[3].max() == 0
    assert change(single, "blur", 0.8, EVEN)[3].max() > 0


def test_every_kind_is_drawn_at_a_visible_strength():
    rng = np.random.default_rng(0)
    drawn = [draw_degradation(rng) for _ in range(200)]
    assert {d.name for d in drawn} == set(DEGRADATIONS)
    assert all(0.2 <= d.strength <= 1 for d in drawn)
    assert draw_degradation(np.random.default_rng(4)) == draw_degradation(np.random.default_rng(4))
