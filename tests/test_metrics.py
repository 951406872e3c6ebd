"""qcnode.assess.metrics against MONAI and against conventions worked out by hand."""

import time

import numpy as np
import pytest
from scipy import ndimage

from qcnode.assess import metrics


def blobs(seed, shape=(3, 12, 40, 44), smooth=(0, 1, 3, 3)):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=shape), smooth) > 0.02


@pytest.mark.parametrize("spacing", [(10.0, 1.5, 1.5), (1.0, 1.0, 1.0), (2.0, 0.9, 1.1)])
@pytest.mark.parametrize("tolerance_mm", [1.0, 2.0, 7.0])
def test_nsd_equals_monai(spacing, tolerance_mm):
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_surface_dice

    query, other = blobs(1), blobs(2) & blobs(3)
    stack = [torch.from_numpy(a[None].astype(np.float32)) for a in (query, other)]
    expected = compute_surface_dice(*stack, [tolerance_mm] * 3, include_background=True, spacing=spacing, use_subvoxels=True)
    _, per_tissue = metrics.nsd(query, other, spacing, tolerance_mm)
    np.testing.assert_allclose(per_tissue, expected[0].numpy(), atol=1e-3)


def test_pooled_nsd_weighs_tissues_by_surface():
    query, other = blobs(1)[:2].copy(), blobs(1)[:2].copy()
    query[0] = False
    pooled, per_tissue = metrics.nsd(query, other, (1.0, 1.0, 1.0), 1.0)
    assert per_tissue == pytest.approx((0.0, 1.0))
    assert 0.3 < pooled < 0.8


def test_empty_conventions():
    nothing, something = np.zeros((1, 4, 8, 8), bool), np.zeros((1, 4, 8, 8), bool)
    something[:, 1:3, 2:5, 2:5] = True
    for query, other, value in ((nothing, nothing, 1.0), (nothing, something, 0.0), (something, nothing, 0.0), (something, something, 1.0)):
        found = metrics.agreement(query, other, (1.0, 1.0, 1.0), 2.0)
        assert (found.dsc, found.nsd, found.dsc_per_tissue, found.nsd_per_tissue) == (value, value, (value,), (value,))


def test_dsc_is_pooled_over_tissues():
    query, other = np.zeros((2, 1, 1, 10), bool), np.zeros((2, 1, 1, 10), bool)
    query[0, ..., :4] = True
    other[0, ..., 2:6] = True  # TP 2, FP 2, FN 2
    query[1, ..., :1] = other[1, ..., :1] = True  # TP 1
    assert metrics.dsc(query, other) == pytest.approx(2 * 3 / (2 * 3 + 2 + 2))
    np.testing.assert_allclose(metrics.dsc_per_tissue(query, other), [0.5, 1.0])
    assert metrics.error_map(query, other).sum() == 4
    assert metrics.error_map_dsc(metrics.error_map(query, other), query ^ other) == 1.0


def test_a_cardiac_case_takes_less_than_a_tenth_of_a_second():
    z, y, x = np.ogrid[:16, :160, :160]
    radius = np.hypot(y - 80, x - 80) + 0 * z
    query = np.stack([radius < 40, (radius >= 40) & (radius < 50), radius > 300])
    other = np.roll(query, 3, axis=3)
    metrics.nsd(query, other, (10.0, 1.5, 1.5), 2.0)
    started = time.perf_counter()
    for _ in range(3):
        metrics.agreement(query, other, (10.0, 1.5, 1.5), 2.0)
    assert (time.perf_counter() - started) / 3 < 0.1
