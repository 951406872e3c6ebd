"""The small picture of a case in the queue: one slice around what is drawn, the query's outlines, and the predicted errors."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from qcnode.store.items import Item
from qcnode.store.thumbnail_files import ThumbnailFiles
from qcnode.web.pictures import viewer_description

PIXELS = 152
"""Twice what the queue shows, for sharp screens."""
_ERROR_OPACITY = 0.5

Bytes = npt.NDArray[np.uint8]


def thumbnail_of(item: Item, files: ThumbnailFiles) -> Path | None:
    """The picture, drawn the first time it is asked for and kept; None for a case without pictures.

    Of a hidden item the predicted errors are left out, and the slice is not chosen by them. Raises OSError where the disk fails.
    """
    kept = files.path(item.case_id, is_hidden=item.is_hidden)
    if kept.exists():
        return kept
    description = viewer_description(item)
    if description is None or item.viewer_path is None:
        return None
    kept.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=kept.parent, suffix=".unfinished", delete=False) as unfinished:
        Image.fromarray(_draw(description, item.viewer_path)).save(unfinished, "PNG")
    os.replace(unfinished.name, kept)  # noqa: PTH105 - two readers may draw it at the same time: the last one wins, both are whole
    return kept


def _draw(description: dict[str, Any], folder: Path) -> Bytes:
    """(y, x, red green blue) of the slice with the largest predicted error, or of the one that the viewer opens first."""
    prediction = description["prediction"]
    worst = prediction["worst_slice"] if prediction else None
    number = description["first_slice"] if worst is None else worst
    focus = (description["planes"] if worst is None else prediction["planes"])[0]["focus"]
    contrast = description["contrasts"][0]
    shape = (description["size"][1], description["size"][2])
    low_high = _slice(folder, contrast, number).reshape(2, *shape).astype(np.float32)
    values = contrast["offset"] + contrast["scale"] * (low_high[0] + 256 * low_high[1])
    darkest, brightest = contrast["window"]
    grey = np.clip((values - darkest) / max(brightest - darkest, 1e-6), 0, 1) * 255
    picture = np.repeat(_around(grey.astype(np.uint8), focus, description, Image.Resampling.BILINEAR)[..., None], 3, axis=2).astype(float)
    layers = {
        kind: _around(_slice(folder, part, number).reshape(shape), focus, description, Image.Resampling.NEAREST)
        for kind, part in (("errors", prediction), ("query", description["query"]))
        if part
    }
    for kind, bits in layers.items():
        for i, tissue in enumerate(description["tissues"]):
            drawn = (bits >> i & 1).astype(bool)
            where = drawn if kind == "errors" else _outline(drawn)
            opacity = _ERROR_OPACITY if kind == "errors" else 1.0
            colour = _rgb(description["tissues"][0]["error_colour"] if kind == "errors" else tissue["colour"])
            picture[where] = (1 - opacity) * picture[where] + opacity * colour
    return picture.astype(np.uint8)


def _slice(folder: Path, part: dict[str, Any], number: int) -> Bytes:
    start, end = part["starts"][number : number + 2]
    with (folder / part["file"]).open("rb") as file:
        file.seek(start)
        return np.frombuffer(zlib.decompress(file.read(end - start)), np.uint8)


def _around(plane: Bytes, focus: dict[str, float], description: dict[str, Any], resample: Image.Resampling) -> Bytes:
    """The square around the focus, PIXELS wide; what lies outside of the plane is 0."""
    _, down_mm, right_mm = description["spacing_mm"]
    right, down = (focus["side_mm"] / PIXELS / spacing for spacing in (right_mm, down_mm))  # voxels per pixel
    # the affine map counts from voxel corners, the focus from voxel centres
    corner = (focus["right"] + 0.5 - right * PIXELS / 2, focus["down"] + 0.5 - down * PIXELS / 2)
    affine = (right, 0.0, corner[0], 0.0, down, corner[1])
    return np.asarray(Image.fromarray(plane).transform((PIXELS, PIXELS), Image.Transform.AFFINE, affine, resample))


def _outline(drawn: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Pixels of a region that touch something else, two pixels wide: one would vanish when the picture is shown smaller."""
    inner = drawn.copy()
    for _ in range(2):
        padded = np.pad(inner, 1)
        inner = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(drawn & ~inner)


def _rgb(colour: str) -> npt.NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)
