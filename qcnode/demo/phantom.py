"""A short-axis cardiac MR built in code, with its reference segmentation: for the demonstration, the tests and a part of the training.

Everything follows from the seed. Seeds below 1000 are kept for demonstrations and tests; training takes others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from qcnode.imaging.grid import Grid, Volume

Array = npt.NDArray[np.float64]
Segmentation = npt.NDArray[np.bool_]

TISSUES = ("right ventricle", "myocardium", "left ventricle")


@dataclass(frozen=True, slots=True)
class Phantom:
    """A volume (z, y, x) from base to apex and its reference segmentation (tissue, z, y, x); tissues as in `TISSUES`."""

    volume: Volume
    reference: Segmentation
    seed: int


@dataclass(frozen=True, slots=True)
class _Heart:
    """Shape of one heart; lengths in mm, angles in radians, `depth` fractions run from 0 (first slice) to 1 (last)."""

    slices: int
    matrix: int
    spacing: tuple[float, float, float]
    base: float  # depth where the ventricles begin
    apex: float  # depth where they end
    radius: float  # of the left cavity at the base
    wall: float
    ellipticity: float
    angle: float  # towards the right ventricle, 0 along +x
    rv_reach: float  # how far the right ventricle's centre lies from the left's, in outer radii
    rv_size: float  # in outer radii
    centre: tuple[float, float]  # y, x from the middle of the field of view
    drift: tuple[float, float]  # y, x over the whole stack


def make_phantom(seed: int) -> Phantom:
    """The phantom of this seed."""
    rng = np.random.default_rng([seed, 20])
    heart = _draw_heart(rng)
    y, x = _field(heart)
    reference = np.zeros((3, heart.slices, heart.matrix, heart.matrix), bool)
    series = np.zeros((heart.slices, heart.matrix, heart.matrix))
    body = _draw_body(rng, heart, y, x)
    for k in range(heart.slices):
        series[k] = body + rng.normal(0, 12) * ndimage.gaussian_filter(rng.normal(size=body.shape), 9) * 12
        reference[:, k] = _draw_slice(rng, heart, k, y, x, series[k])
    series = _acquire(rng, heart, series, y, x)
    return Phantom(Volume(series.astype(np.float32), _oblique_grid(rng, heart)), reference, seed)


def good_query(phantom: Phantom, seed: int = 0) -> Segmentation:
    """A segmentation that a careful observer might have drawn: contours off by less than a millimetre or so (DSC about 0.95)."""
    rng = np.random.default_rng([phantom.seed, seed, 21])
    return _wobble(rng, phantom.reference, amplitude=0.5, smooth=7.0)


def bad_query_shifted(phantom: Phantom, seed: int = 0) -> Segmentation:
    """The whole segmentation displaced in the plane by about a third of the heart."""
    rng = np.random.default_rng([phantom.seed, seed, 22])
    angle = rng.uniform(0, 2 * np.pi)
    length = 15.0 / phantom.volume.grid.spacing[1]
    shift = (0, 0, round(length * np.sin(angle)), round(length * np.cos(angle)))
    return _wobble(rng, np.roll(phantom.reference, shift, (0, 1, 2, 3)), amplitude=0.5, smooth=7.0)


def bad_query_missing_base(phantom: Phantom, seed: int = 0) -> Segmentation:
    """The basal half of the heart left out, and the blood of the left ventricle leaking through the wall in the rest."""
    rng = np.random.default_rng([phantom.seed, seed, 23])
    query = _wobble(rng, phantom.reference, amplitude=0.5, smooth=7.0)
    slices = np.flatnonzero(phantom.reference.any((0, 2, 3)))
    query[:, slices[: round(0.45 * len(slices))]] = False
    inner = np.stack([ndimage.binary_dilation(s, iterations=4) for s in query[2]])
    leak = inner & query[1]
    query[1] &= ~leak
    query[2] |= leak
    return query


def _draw_heart(rng: np.random.Generator) -> _Heart:
    slices = int(rng.integers(9, 13))
    matrix = int(rng.choice([192, 208, 224, 240, 256]))
    pixel = float(rng.uniform(300, 380)) / matrix
    outer = int(rng.integers(0, 2)), int(rng.integers(0, 2))
    return _Heart(
        slices=slices,
        matrix=matrix,
        spacing=(float(rng.uniform(7.5, 9.5)), pixel, pixel),
        base=(outer[0] - 0.4) / (slices - 1),
        apex=1 - (outer[1] - 0.4) / (slices - 1),
        radius=float(rng.uniform(19, 27)),
        wall=float(rng.uniform(7, 11)),
        ellipticity=float(rng.uniform(0.9, 1.1)),
        angle=float(np.pi + rng.uniform(-0.45, 0.45)),
        rv_reach=float(rng.uniform(0.85, 1.05)),
        rv_size=float(rng.uniform(0.85, 1.1)),
        centre=(float(rng.uniform(-25, 15)), float(rng.uniform(-12, 25))),
        drift=(float(rng.uniform(-10, 10)), float(rng.uniform(-10, 10))),
    )


def _field(heart: _Heart) -> tuple[Array, Array]:
    """Positions y and x in mm from the middle of the field of view."""
    line = (np.arange(heart.matrix) - heart.matrix / 2) * heart.spacing[1]
    y, x = np.meshgrid(line, line, indexing="ij")
    return y, x


def _draw_body(rng: np.random.Generator, heart: _Heart, y: Array, x: Array) -> Array:
    """Signal of chest wall, lungs, liver, stomach and great vessels: what lies around the heart in every slice."""
    half = heart.matrix * heart.spacing[1] / 2
    chest = _ellipse(y, x, (half * 0.08, 0), (half * rng.uniform(0.78, 0.88), half * rng.uniform(0.82, 0.93)), rng.uniform(-0.2, 0.2))
    cavity = chest + rng.uniform(0.16, 0.24)
    body = np.where(chest < 0, rng.uniform(170, 235), 4.0)  # fat below the skin
    body[cavity < 0] = rng.uniform(65, 90)  # muscle
    body[(cavity < -0.06) & (y < half * 0.25)] = rng.uniform(14, 26)  # lung
    liver = _ellipse(y, x, (half * rng.uniform(0.3, 0.42), -half * 0.42), (half * 0.34, half * 0.46), rng.uniform(-0.4, 0.1))
    body[(liver < 0) & (cavity < -0.04)] = rng.uniform(60, 85)
    stomach = _ellipse(y, x, (half * 0.42, half * 0.35), (half * 0.26, half * 0.28), rng.uniform(-0.5, 0.5))
    body[(stomach < 0) & (cavity < -0.04)] = rng.uniform(80, 150)
    fat = _ellipse(y, x, heart.centre, (42 + rng.uniform(0, 10), 50 + rng.uniform(0, 12)), rng.uniform(-0.5, 0.5))
    body[(fat < 0) & (cavity < -0.02)] = rng.uniform(95, 165)  # around the heart
    for _ in range(int(rng.integers(4, 9))):  # vessels and bowel
        place = (rng.uniform(-0.5, 0.6) * half, rng.uniform(-0.6, 0.6) * half)
        spot = _ellipse(y, x, place, (rng.uniform(4, 12), rng.uniform(4, 12)), 0.0)
        body[(spot < 0) & (cavity < -0.05)] = rng.uniform(120, 220)
    return body


def _draw_slice(rng: np.random.Generator, heart: _Heart, k: int, y: Array, x: Array, signal: Array) -> Segmentation:
    """Paint slice `k` of the heart into `signal` (y, x) and return its reference (tissue, y, x)."""
    reference = np.zeros((3, *y.shape), bool)
    depth = k / (heart.slices - 1)
    along = (depth - heart.base) / (heart.apex - heart.base)
    blood = rng.normal(205, 8)
    cy, cx = (c + d * (depth - 0.5) + rng.normal(0, 1.0) for c, d in zip(heart.centre, heart.drift, strict=True))
    if not 0 <= along <= 1:
        if along < 0:  # above the valves: atria and outflow tract, bright but not part of the reference
            for turn in (0.0, 2.2):
                where = (cy + 16 * np.sin(heart.angle + turn), cx + 18 * np.cos(heart.angle + turn))
                signal[_ellipse(y, x, where, (rng.uniform(13, 20), rng.uniform(13, 20)), 0.3) < 0] = blood
        return reference
    taper = np.sqrt(max(1 - (0.94 * along) ** 2.2, 0.04))
    inner, wall = heart.radius * taper, heart.wall * (0.75 + 0.25 * taper)
    outer = inner + wall
    ripple = _ripple(rng, y - cy, x - cx)
    lv = _ellipse(y, x, (cy, cx), (inner * heart.ellipticity, inner / heart.ellipticity), heart.angle) + 0.6 * ripple
    myo = _ellipse(y, x, (cy, cx), (outer * heart.ellipticity, outer / heart.ellipticity), heart.angle) + 0.35 * ripple
    reach = heart.rv_reach * outer * (0.9 + 0.1 * taper)
    size = heart.rv_size * outer * (1 - 0.55 * along**2)
    where = (cy + reach * np.sin(heart.angle), cx + reach * np.cos(heart.angle))
    rv = _ellipse(y, x, where, (1.15 * size, 0.85 * size), heart.angle - np.pi / 2) + _ripple(rng, y - where[0], x - where[1])
    myocardium = rng.normal(70, 5)
    reference[2] = lv < 0
    reference[1] = (myo < 0) & ~reference[2]
    if along < 0.93:
        signal[(rv < 0.14) & (rv >= 0) & (myo >= 0)] = myocardium + 12  # the thin free wall
        reference[0] = (rv < 0) & (myo >= 0)
    signal[reference[0]] = blood * rng.uniform(0.85, 1.0)
    signal[reference[1]] = myocardium
    signal[reference[2]] = blood
    _papillary(rng, signal, reference[2], (cy, cx), inner, myocardium, y, x)
    return reference


def _papillary(
    rng: np.random.Generator, signal: Array, cavity: Segmentation, centre: tuple[float, ...], inner: float, level: float, y: Array, x: Array
) -> None:
    """Dark muscles within the left cavity, which the reference counts as cavity."""
    for turn in rng.uniform(0, 2 * np.pi, 2):
        place = (centre[0] + 0.62 * inner * np.sin(turn), centre[1] + 0.62 * inner * np.cos(turn))
        muscle = _ellipse(y, x, place, (max(0.15 * inner, 0.5), max(0.12 * inner, 0.5)), turn)
        signal[(muscle < 0) & cavity] = level + 20


def _acquire(rng: np.random.Generator, heart: _Heart, series: Array, y: Array, x: Array) -> Array:
    """Partial volume, coil bias, slice-to-slice gain, texture and Rician noise; values like a scanner's, 0 to about 1000."""
    blurred = ndimage.gaussian_filter(series, (0, rng.uniform(0.6, 1.0), rng.uniform(0.6, 1.0)))
    half = heart.matrix * heart.spacing[1] / 2
    bias = np.exp(-rng.uniform(0.2, 0.7) * y / half + rng.uniform(-0.3, 0.3) * x / half)
    gain = rng.normal(1, 0.04, (heart.slices, 1, 1))
    texture = 1 + 0.05 * ndimage.gaussian_filter(rng.normal(size=series.shape), (0, 1.5, 1.5)) * 5
    clean = blurred * bias * gain * texture * rng.uniform(2.0, 4.0)
    sigma = rng.uniform(0.015, 0.035) * float(np.percentile(clean, 99))
    return np.asarray(np.hypot(clean + rng.normal(0, sigma, clean.shape), rng.normal(0, sigma, clean.shape)))


def _oblique_grid(rng: np.random.Generator, heart: _Heart) -> Grid:
    """A short-axis plane as a scanner would place it: slices run from the base towards the apex (left, anterior, inferior)."""
    long_axis = np.array([0.62, -0.55, -0.56]) + rng.normal(0, 0.04, 3)
    z = long_axis / np.linalg.norm(long_axis)
    x = np.array([0.75, 0.35, 0.45])
    x = x - z * (x @ z)
    x /= np.linalg.norm(x)
    y = np.cross(x, z)  # x, y, -z is right-handed: rows run down, slices run away from the usual viewer
    y = y if y[1] - y[2] > 0 else -y
    size = (heart.slices, heart.matrix, heart.matrix)
    corner = np.array([20.0, -30.0, 10.0]) - sum((n - 1) / 2 * s * axis for n, s, axis in zip(size, heart.spacing, (z, y, x), strict=True))
    dz, dy, dx = ((float(v[0]), float(v[1]), float(v[2])) for v in (z, y, x))
    return Grid(size, heart.spacing, (float(corner[0]), float(corner[1]), float(corner[2])), (dz, dy, dx))


def _ellipse(y: Array, x: Array, centre: tuple[float, float], radii: tuple[float, float], angle: float) -> Array:
    """Below 0 inside an ellipse, above outside (mm); `radii` along the rotated y and x."""
    dy, dx = y - centre[0], x - centre[1]
    across = dy * np.cos(angle) - dx * np.sin(angle)
    along = dy * np.sin(angle) + dx * np.cos(angle)
    return np.asarray(np.hypot(across / radii[0], along / radii[1]) - 1)


def _ripple(rng: np.random.Generator, y: Array, x: Array) -> Array:
    """An uneven contour: a few low harmonics of the angle around the centre."""
    angle = np.arctan2(y, x)
    return np.asarray(sum(rng.normal(0, 0.035) * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) for n in (2, 3, 4, 5)))


def _wobble(rng: np.random.Generator, segmentation: Segmentation, amplitude: float, smooth: float) -> Segmentation:
    """Every slice's contours moved by a smooth field of about `amplitude` pixels (standard deviation)."""
    _, depth, height, width = segmentation.shape
    labels = np.zeros((depth, height, width), np.uint8)
    for i, tissue in enumerate(segmentation):
        labels[tissue] = i + 1
    rows, columns = np.mgrid[:height, :width].astype(float)
    moved = np.zeros_like(labels)
    for k, plane in enumerate(labels):
        fields = [ndimage.gaussian_filter(rng.normal(size=plane.shape), smooth) * smooth * 3.54 * amplitude for _ in range(2)]
        moved[k] = ndimage.map_coordinates(plane, [rows + fields[0], columns + fields[1]], order=0)
    return np.stack([moved == i + 1 for i in range(len(segmentation))])
