"""Volumes as worse scanners and less quiet patients give them. What happens is drawn apart from being applied.

Values are (z, y, x), spacing is mm in the same order. Every change is relative to the volume's 99th percentile, so that the scale of the
intensities does not matter; the lowest value counts as air. Artefacts of the Fourier space are made there, slice by slice. Nothing moves
for good: labels of the volume stay right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

FloatArray = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]

_THICK = 2.0  # slices so many times thicker than pixels are wide were acquired one by one: each has artefacts of its own
_NOISE = 0.15  # standard deviation of the noise at strength 1, in 99th percentiles
_BIAS = 0.8  # standard deviation of the field's logarithm at strength 1
_GHOST = 0.7  # modulation of the lines at strength 1; a copy has half of it
_SHIFT_MM, _TURN_DEGREES = 9.0, 7.0  # motion at strength 1
_MIDDLE = 0.015  # share of the lines on either side of the middle one that are always in place
_BLUR_MM = 4.0  # standard deviation at strength 1
_LINES_KEPT = 0.16  # share of the Fourier space, along each axis, that is left at strength 1
_SLICE_GAIN = 0.4  # standard deviation of the logarithm of a slice's gain at strength 1
_MOST = 2.5  # standard deviations that a drawn factor may be away from its mean


@dataclass(frozen=True, slots=True)
class Degradation:
    """One change: `name` is a key of DEGRADATIONS, `strength` 0 (nothing) to 1 (anyone sees it), `seed` for what is drawn inside."""

    name: str
    strength: float
    seed: int = 0


def draw_degradation(rng: np.random.Generator) -> Degradation:
    """Any kind, at a strength that can be seen."""
    name = list(DEGRADATIONS)[int(rng.integers(len(DEGRADATIONS)))]
    return Degradation(name, float(rng.uniform(0.2, 1)), int(rng.integers(2**31)))


def degrade(values: FloatArray, degradation: Degradation, spacing: Spacing) -> FloatArray:
    """The volume (z, y, x) as it would have come with this artefact, on the same grid and scale."""
    low = float(values.min())
    top = float(np.percentile(values, 99)) - low
    if top <= 0 or degradation.strength <= 0:
        return values.astype(np.float32)
    unit = ((values - low) / top).astype(np.float32)
    changed = DEGRADATIONS[degradation.name](unit, degradation.strength, np.random.default_rng(degradation.seed), spacing)
    return (changed * top + low).astype(np.float32)


def _noise(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """Rician: normal noise in both parts of the complex signal (Gudbjartsson and Patz 1995)."""
    real, imaginary = (rng.normal(0, _NOISE * strength, unit.shape).astype(np.float32) for _ in range(2))
    return np.asarray(np.hypot(unit + real, imaginary), np.float32)


def _bias(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """A smooth factor, as of receive coils: the exponential of a random polynomial of degree 2."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in unit.shape), indexing="ij", sparse=True)
    field = np.zeros(unit.shape)
    for term in (y, x, y * x, y * y, x * x, 0.5 * z):
        field = field + rng.normal() * term
    field -= field.mean()
    field /= max(float(field.std()), 1e-9)
    return (unit * np.exp(_BIAS * strength * field.clip(-_MOST, _MOST))).astype(np.float32)


def _ghosting(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """Copies along the phase-encoding axis: lines of the Fourier space swell and fade with a period, as breathing or flow makes them."""
    axis, period = int(rng.integers(1, 3)), int(rng.integers(2, 6))
    lines = np.arange(unit.shape[axis])
    shape = [1, 1]
    shape[axis - 1] = -1
    result = np.empty_like(unit)
    phase = rng.uniform(-np.pi, np.pi)
    for k, plane in enumerate(unit):
        swell = _GHOST * strength * np.cos(2 * np.pi * lines / period + (rng.uniform(-np.pi, np.pi) if _is_thick(spacing) else phase))
        swell[0] = 0  # the mean stays
        result[k] = np.abs(fft.ifft(fft.fft(plane, axis=axis - 1) * (1 + swell.reshape(shape)), axis=axis - 1))
    return result


def _motion(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """Lines of the Fourier space that were taken of the patient elsewhere; the middle lines are of where the labels are."""
    axis = int(rng.integers(1, 3))
    result = np.empty_like(unit)
    moves = _draw_moves(rng, strength)
    for k, plane in enumerate(unit):
        if _is_thick(spacing):
            moves = _draw_moves(rng, strength)
        result[k] = _moved_lines(plane, moves, axis - 1, spacing[1:])
    return result


_Move = tuple[float, float, float, float, float]  # first and last line (fractions), degrees, mm down, mm across


def _draw_moves(rng: np.random.Generator, strength: float) -> list[_Move]:
    """A few spells of other positions on either side of the middle lines, mostly near them, where the signal is."""
    moves = []
    for _ in range(int(rng.integers(3, 7))):
        start = _MIDDLE + 0.4 * rng.random() ** 2
        stop = min(start + rng.uniform(0.02, 0.2), 0.5)
        first, last = (0.5 + start, 0.5 + stop) if rng.random() < 0.5 else (0.5 - stop, 0.5 - start)
        turn = rng.normal() * _TURN_DEGREES * strength
        down, across = rng.normal(size=2) * _SHIFT_MM * strength
        moves.append((float(first), float(last), float(turn), float(down), float(across)))
    return moves


def _moved_lines(plane: FloatArray, moves: list[_Move], axis: int, spacing: tuple[float, ...]) -> FloatArray:
    lines = np.arange(plane.shape[axis]) / plane.shape[axis]
    space = fft.fftshift(fft.fft2(plane), axes=axis)
    shape = [1, 1]
    shape[axis] = -1
    centre = (np.asarray(plane.shape) - 1) / 2
    for first, last, turn, down, across in moves:
        angle = np.deg2rad(turn)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = centre - matrix @ (centre + np.array([down / spacing[0], across / spacing[1]]))
        elsewhere = fft.fftshift(fft.fft2(ndimage.affine_transform(plane, matrix, offset, order=1)), axes=axis)
        space = np.where(((lines >= first) & (lines < last)).reshape(shape), elsewhere, space)
    return np.abs(fft.ifft2(fft.ifftshift(space, axes=axis))).astype(np.float32)


def _blur(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """Low resolution: normally blurred in the plane, and through thin slices too."""
    wide = [_BLUR_MM * strength / s for s in spacing]
    if _is_thick(spacing):
        wide[0] = 0.0
    return np.asarray(ndimage.gaussian_filter(unit, wide, mode="nearest"), np.float32)


def _gibbs(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """Ringing beside edges: the outer part of the Fourier space is missing."""
    kept = _LINES_KEPT**strength
    down, across = (np.abs(fft.fftfreq(n)) <= 0.5 * kept for n in unit.shape[1:])
    return np.abs(fft.ifft2(fft.fft2(unit) * (down[:, None] & across))).astype(np.float32)


def _uneven_slices(unit: FloatArray, strength: float, rng: np.random.Generator, spacing: Spacing) -> FloatArray:
    """Slices brighter and darker than their neighbours."""
    gain = np.exp(_SLICE_GAIN * strength * rng.normal(size=(len(unit), 1, 1)).clip(-_MOST, _MOST))
    return (unit * gain).astype(np.float32)


def _is_thick(spacing: Spacing) -> bool:
    return spacing[0] > _THICK * max(spacing[1:])


DEGRADATIONS: dict[str, Callable[[FloatArray, float, np.random.Generator, Spacing], FloatArray]] = {
    "noise": _noise,
    "bias-field": _bias,
    "ghosting": _ghosting,
    "motion": _motion,
    "blur": _blur,
    "gibbs": _gibbs,
    "uneven-slices": _uneven_slices,
}
