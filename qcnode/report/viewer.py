"""What the case page shows, as files beside the results: so that the web never opens DICOM.

`viewer/` holds viewer.json and one .bin file per contrast, one for the query and one for the predicted errors. A .bin file is the slices of
the stack one after the other, each compressed by itself (zlib), so that one slice is one byte range; the byte positions are in viewer.json
("starts", one more than slices). A slice, rows from the top and each row from the left, is in

- a contrast: unsigned 16-bit stored values, first the low bytes of all voxels, then their high bytes (which halves what noise costs);
  value = offset + scale * stored value;
- the query and the errors: one byte per voxel, bit i for tissue i.

The whole field of view is kept, as a tissue that the segmenter missed may lie anywhere; compression is what keeps the files small.
Everything that was predicted is under "prediction" (null where nothing was) and in errors.bin: a page that must not show it leaves out
these two. Nothing here tells whose pictures they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qcnode.durable import write_durably
from qcnode.imaging.grid import Grid
from qcnode.regions import DESCRIPTION_NAME
from qcnode.report import colours
from qcnode.report.inputs import ReportInputs
from qcnode.report.regions import error_regions
from qcnode.report.slices import Layers, choose_slices, edge_letters, field_of_view, finite, grey_window, layers_of, slice_position_mm

DIRECTORY_NAME = "viewer"
SCHEMA_VERSION = 1
_MOST_TISSUES = 8  # bits of a byte
_LARGEST_STORED = 65535
_ISOTROPIC = 1.5  # longest voxel edge over the shortest, up to which planes across the stack are worth looking at
_FEWEST_ROWS = 16  # and the extent in voxels from which they are
_STRAIGHT = 0.966  # cosine of 15 degrees, as edge letters have it
_NORMALS = ("sagittal", "coronal", "axial")  # by the LPS axis along which the planes follow one another

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Turn:
    """A way to look at the volume. axes: array axes along the slices, down and to the right; flips: down or right runs against its axis."""

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool] = (False, False)


def write_viewer(inputs: ReportInputs, directory: Path) -> None:
    """Write directory/"viewer" and flush every file to the disk; nothing where the case has no volume.

    The same inputs give the same bytes. Raises OSError where the disk fails and ValueError for a task of more than eight tissues.
    """
    layers = layers_of(inputs)
    if layers is None:
        return
    if len(inputs.tissues) > _MOST_TISSUES:
        raise ValueError(f"{len(inputs.tissues)} tissues do not fit into {_MOST_TISSUES} bits")
    folder = directory / DIRECTORY_NAME
    folder.mkdir()
    description = _description(inputs, layers, folder)
    write_durably(folder / DESCRIPTION_NAME, json.dumps(description, separators=(",", ":"), allow_nan=False).encode())


def _description(inputs: ReportInputs, layers: Layers, folder: Path) -> dict[str, Any]:
    """The content of viewer.json; the files that it names are written on the way."""
    grid = layers.grid
    # what stands outside of "prediction" must not tell of it
    neutral = replace(layers, errors=np.zeros(grid.size, bool))
    turns = _turns(grid)
    chosen = choose_slices(neutral)
    return {
        "schema_version": SCHEMA_VERSION,
        "size": list(grid.size),
        "spacing_mm": [round(s, 5) for s in grid.spacing],
        "first_slice": chosen[len(chosen) // 2],
        "planes": [_plane(neutral, turn) for turn in turns],
        "contrasts": _contrasts(inputs, neutral, chosen, folder),
        "tissues": [
            {"name": tissue.name, "colour": _hex(colours.of_tissue(i)), "error_colour": _hex(colours.of_error(i))}
            for i, tissue in enumerate(inputs.tissues)
        ],
        "query": None if inputs.query_masks is None else _write_slices(_bits(inputs.query_masks), folder / "query.bin"),
        "prediction": _prediction(inputs, layers, turns, folder),
    }


def _contrasts(inputs: ReportInputs, layers: Layers, chosen: tuple[int, ...], folder: Path) -> list[dict[str, Any]]:
    """The reference contrast first, for it is what the query was drawn on."""
    arrays = {inputs.case.reference_contrast: layers.values, **{n: v.array for n, v in inputs.further_contrasts.items()}}
    view = field_of_view(layers)
    return [
        {
            "name": name,
            "window": [_rounded(edge) for edge in grey_window(replace(layers, values=values), chosen, view)],
            **_write_contrast(values, folder / f"contrast-{number}.bin"),
        }
        for number, (name, values) in enumerate(arrays.items(), 1)
    ]


def _write_contrast(values: npt.NDArray[np.float32], path: Path) -> dict[str, Any]:
    known = finite(values)
    low, high = float(known.min()), float(known.max())
    is_whole = high - low <= _LARGEST_STORED and bool((known == np.rint(known)).all())
    scale = 1.0 if is_whole or low == high else (high - low) / _LARGEST_STORED
    stored = (np.rint((plane.astype(np.float64) - low) / scale).astype("<u2") for plane in known)
    bytewise = (np.stack([plane & 255, plane >> 8]).astype(np.uint8) for plane in stored)
    return {"offset": low, "scale": scale, "range": [low, high], **_write_slices(bytewise, path)}


def _write_slices(slices: Iterator[Bits] | Bits, path: Path) -> dict[str, Any]:
    compressed = [zlib.compress(np.ascontiguousarray(plane).tobytes()) for plane in slices]
    write_durably(path, b"".join(compressed))
    return {"file": path.name, "starts": [0, *np.cumsum([len(c) for c in compressed]).tolist()]}


def _prediction(inputs: ReportInputs, layers: Layers, turns: list[_Turn], folder: Path) -> dict[str, Any] | None:
    prediction = inputs.assessment.prediction
    if prediction is None:
        return None
    rows = {name: prediction.error_map[i] for i, name in enumerate(prediction.tissues)}
    errors = np.stack([rows.get(tissue.name, np.zeros(layers.grid.size, bool)) for tissue in inputs.tissues])
    area = layers.error_area_mm2
    return {
        "worst_slice": int(area.argmax()) if area.any() else None,
        "planes": [_errors_of_plane(errors, layers, turn) for turn in turns],
        "regions": [asdict(region) for region in error_regions(errors, [tissue.name for tissue in inputs.tissues], layers.grid)],
        **_write_slices(_bits(errors), folder / "errors.bin"),
    }


def _errors_of_plane(errors: npt.NDArray[np.bool_], layers: Layers, turn: _Turn) -> dict[str, Any]:
    """error_voxels: per tissue, per slice; error_area_mm2: per slice, each place once."""
    turned = _turned(layers, turn)
    across = tuple(1 + axis for axis in turn.axes[1:])
    return {
        "error_voxels": errors.sum(axis=across).tolist(),
        "error_area_mm2": [round(a, 2) for a in turned.error_area_mm2.tolist()],
        "focus": _focus(turned),
    }


def _plane(layers: Layers, turn: _Turn) -> dict[str, Any]:
    """A way to look: how the picture lies in the array and in the patient, where its slices are, and what is worth looking at."""
    turned = _turned(layers, turn)
    along, down, right = turn.axes
    return {
        "name": _name(turned.grid),
        "axis": along,
        "down": {"axis": down, "flip": turn.flips[0]},
        "right": {"axis": right, "flip": turn.flips[1]},
        "edges": edge_letters(turned.grid),
        "positions_mm": [round(slice_position_mm(turned.grid, i), 2) for i in range(turned.grid.size[0])],
        "query_area_mm2": [round(a, 2) for a in _query_area_mm2(turned)],
        "focus": _focus(turned),
    }


def _turns(grid: Grid) -> list[_Turn]:
    """The stack as its images lie, and the planes across it where the voxels allow it: head up, or else the patient's front."""
    turns = [_Turn()]
    if max(grid.spacing) > _ISOTROPIC * min(grid.spacing) or min(grid.size) < _FEWEST_ROWS:
        return turns
    direction = np.asarray(grid.direction, float)
    for along, pair in ((1, (0, 2)), (2, (0, 1))):
        upright = 2 if np.abs(direction[list(pair), 2]).max() >= 0.5 else 1  # the LPS axis that shall stand
        down, right = sorted(pair, key=lambda axis: -abs(direction[axis, upright]))
        flips = (_runs_backwards(direction[down], (1, 1, -1)), _runs_backwards(direction[right], (1, 1, -1)))
        turns.append(_Turn((along, down, right), flips))
    return turns


def _runs_backwards(axis: npt.NDArray[np.float64], wanted: tuple[int, int, int]) -> bool:
    """True where an array axis has to be flipped to run to the patient's left, back or feet, whichever it is nearest to."""
    main = int(np.abs(axis).argmax())
    return bool(axis[main] * wanted[main] < 0)


def _turned(layers: Layers, turn: _Turn) -> Layers:
    """The same voxels with the axes (along, down, right) of a picture."""
    grid = layers.grid
    direction, origin = np.asarray(grid.direction, float)[list(turn.axes)], np.asarray(grid.origin, float)
    steps = [slice(None)] * 3
    for i, flip in enumerate(turn.flips, 1):
        if flip:
            length = (grid.size[turn.axes[i]] - 1) * grid.spacing[turn.axes[i]]
            origin, direction[i], steps[i] = origin + length * direction[i], -direction[i], slice(None, None, -1)
    along, down, right = turn.axes
    x, y, z = origin.tolist()
    turned = Grid(
        (grid.size[along], grid.size[down], grid.size[right]),
        (grid.spacing[along], grid.spacing[down], grid.spacing[right]),
        (x, y, z),
        (tuple(direction[0].tolist()), tuple(direction[1].tolist()), tuple(direction[2].tolist())),
    )
    at = tuple(steps)
    query = layers.query.transpose(0, *(1 + axis for axis in turn.axes))[(slice(None), *at)]
    return Layers(layers.values.transpose(turn.axes)[at], turned, query, layers.errors.transpose(turn.axes)[at])


def _name(grid: Grid) -> str:
    components = np.abs(np.asarray(grid.direction[0], float))
    main = int(components.argmax())
    return _NORMALS[main] if components[main] >= _STRAIGHT else f"oblique {_NORMALS[main]}"


def _focus(layers: Layers) -> dict[str, float]:
    """The square around what is drawn: its centre in voxels of the picture, from the centre of the first one, and its side."""
    down, right, side = field_of_view(layers)
    return {"down": round(float(down), 2), "right": round(float(right), 2), "side_mm": round(float(side), 2)}


def _query_area_mm2(layers: Layers) -> list[float]:
    drawn = layers.query.any(axis=0).sum(axis=(1, 2)) * layers.grid.spacing[1] * layers.grid.spacing[2]
    return [float(area) for area in drawn]


def _bits(masks: npt.NDArray[np.bool_]) -> Bits:
    """(tissue, z, y, x) -> (z, y, x), bit i for tissue i."""
    packed = np.zeros(masks.shape[1:], np.uint8)
    for i, tissue in enumerate(masks):
        packed |= tissue.astype(np.uint8) << np.uint8(i)
    return packed


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _hex(rgb: colours.Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*rgb)
