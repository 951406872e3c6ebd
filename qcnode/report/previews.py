"""One page that says everything at a glance: verdict, predicted numbers, reasons, and the worst slices.

The page is the Secondary Capture that goes into the study and the preview of the worklist. It names no patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from qcnode.case import Verdict
from qcnode.report import colours
from qcnode.report.identity import text_of
from qcnode.report.inputs import ReportInputs
from qcnode.report.slices import Layers, choose_slices, draw_slice, edge_letters, field_of_view, grey_window, layers_of, slice_position_mm

WIDTH, HEIGHT = 1600, 1120
_BACKGROUND, _CARD, _LINE = (13, 15, 19), (23, 26, 32), (48, 53, 62)
_TEXT, _QUIET, _SPAN = (236, 238, 242), (150, 157, 168), (104, 132, 176)
_EDGE = 40
_COLUMN = 410  # width of the text column
_NAME = 200  # width of a tissue's name in it
_BAR = 250  # width of an interval's bar, from 0 to 1
_TOP, _BOTTOM = 226, HEIGHT - 74
_GAP = 18
_CAPTION = 40

_MEANINGS = {
    Verdict.PASS: "No review needed",
    Verdict.FAIL: "Needs review: predicted to be poor",
    Verdict.REVIEW: "Needs review: too uncertain to pass",
    Verdict.UNASSESSABLE: "Needs review: could not be assessed",
    Verdict.NOT_APPLICABLE: "No task judges this segmentation",
}


def draw_preview(inputs: ReportInputs) -> npt.NDArray[np.uint8]:
    """The page, uint8 RGB (HEIGHT, WIDTH, 3). Without a volume it holds text only."""
    page = Image.new("RGB", (WIDTH, HEIGHT), _BACKGROUND)
    pen = _Pen(page)
    _draw_header(pen, inputs)
    _draw_column(pen, inputs)
    layers = layers_of(inputs)
    if layers is None:
        _draw_no_images(pen, inputs)
    else:
        _draw_slices(pen, inputs, layers)
    _draw_footer(pen, inputs)
    return np.asarray(page)


class _Pen:
    """Writes on the page in the scalable font that Pillow brings."""

    def __init__(self, page: Image.Image) -> None:
        self.page = page
        self.draw = ImageDraw.Draw(page)
        self._fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    def font(self, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        if size not in self._fonts:
            self._fonts[size] = ImageFont.load_default(size)
        return self._fonts[size]

    def write(self, at: tuple[float, float], text: str, size: int, colour: colours.Rgb = _TEXT, anchor: str = "ls") -> None:
        self.draw.text(at, text, font=self.font(size), fill=colour, anchor=anchor)

    def outlined(self, at: tuple[float, float], text: str, size: int, anchor: str) -> None:
        self.draw.text(at, text, font=self.font(size), fill=_TEXT, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))

    def width(self, text: str, size: int) -> float:
        return float(self.draw.textlength(text, font=self.font(size)))

    def paragraph(self, at: tuple[float, float], text: str, size: int, floor: float, colour: colours.Rgb = _TEXT) -> float:
        """Write `text` over as many lines of the text column as fit above `floor`; returns the y below it."""
        x, y = at
        for line in _wrapped(self, text, size, _COLUMN):
            if y + size > floor:
                break
            self.write((x, y), line, size, colour, "la")
            y += size * 1.35
        return y


def _wrapped(pen: _Pen, text: str, size: int, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.width(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _draw_header(pen: _Pen, inputs: ReportInputs) -> None:
    verdict = inputs.assessment.verdict
    size = 66
    width = pen.width(verdict.value, size) + 68
    pen.draw.rounded_rectangle((_EDGE, 58, _EDGE + width, 166), 14, fill=colours.VERDICTS[verdict])
    pen.write((_EDGE + width / 2, 113), verdict.value, size, (10, 12, 15), "mm")
    x = _EDGE + width + 34
    pen.write((x, 102), "Segmentation QC", 40)
    pen.write((x, 148), f"{_MEANINGS[verdict]}  -  {inputs.case.task}", 25, _QUIET)
    prediction = inputs.assessment.prediction
    if prediction is not None:
        dsc = _Number("predicted DSC", prediction.predicted_dsc, prediction.dsc_interval, inputs.judging.dsc_threshold)
        caption = f"predicted NSD ({prediction.tolerance_mm:g} mm)"
        nsd = _Number(caption, prediction.predicted_nsd, prediction.nsd_interval, inputs.judging.nsd_threshold)
        for number, right in ((dsc, WIDTH - _EDGE - 300), (nsd, WIDTH - _EDGE)):
            _draw_number(pen, right, number)
            if number.interval is not None:
                _draw_interval(pen, right, number, number.interval, prediction.interval_level)
    pen.draw.line((_EDGE, 206, WIDTH - _EDGE, 206), fill=_LINE, width=2)


@dataclass(frozen=True, slots=True)
class _Number:
    """A predicted number, between what it lies, and what is asked of it."""

    caption: str
    value: float
    interval: tuple[float, float] | None
    threshold: float | None


def _draw_number(pen: _Pen, right: float, number: _Number) -> None:
    pen.write((right, 60), number.caption, 24, _QUIET, "rs")
    pen.write((right, 136), f"{number.value:.2f}", 80, _TEXT, "rs")


def _draw_interval(pen: _Pen, right: float, number: _Number, interval: tuple[float, float], level: float | None) -> None:
    """A bar from 0 to 1 with the interval, the number as a dot and the threshold as a line."""
    left, top, bottom = right - _BAR, 153, 165
    low, high, value = (left + _BAR * v for v in (*interval, number.value))
    pen.draw.rounded_rectangle((left, top, right, bottom), 6, fill=_LINE)
    pen.draw.rounded_rectangle((low, top, max(high, low + 4), bottom), 6, fill=_SPAN)
    if number.threshold is not None:
        at = left + _BAR * number.threshold
        pen.draw.line((at, top - 8, at, bottom + 8), fill=_TEXT, width=3)
        pen.write((right, 193), f"needs {number.threshold:g}", 18, _TEXT, "rs")
    pen.draw.ellipse((value - 9, top - 3, value + 9, bottom + 3), fill=_TEXT, outline=_BACKGROUND, width=2)
    words = "" if level is None else f"{100 * level:g} %: "
    pen.write((left, 193), f"{words}{interval[0]:.2f}-{interval[1]:.2f}", 18, _QUIET, "ls")


def _draw_column(pen: _Pen, inputs: ReportInputs) -> None:
    foot = _BOTTOM - 146.0
    y = _draw_tissues(pen, inputs, _TOP + 12.0)
    y = _title(pen, y + 18, "Why")
    size = 24 if len(inputs.assessment.reasons) < 3 else 20
    for reason in inputs.assessment.reasons:
        y = pen.paragraph((_EDGE, y), f"{reason.text[:1].upper()}{reason.text[1:]}.", size, foot, _TEXT) + 8
    if y + 80 < foot:
        y = _title(pen, y + 18, "Thresholds")
        pen.paragraph((_EDGE, y), inputs.judging.description, 20, foot, _QUIET)
    y = _title(pen, foot + 18, "Judged by")
    weights = inputs.assessment.weights
    lines = [f"{weights.name} {weights.version}, weights {weights.sha256[:12]}"] if weights else []
    lines.append(f"qcnode {inputs.version}, {inputs.created:%Y-%m-%d %H:%M}")
    lines.append(f"query SEG ...{inputs.case.query.sop_instance_uid[-20:]}")
    for line in lines:
        y = pen.paragraph((_EDGE, y), line, 20, HEIGHT, _QUIET)


def _title(pen: _Pen, y: float, text: str) -> float:
    pen.write((_EDGE, y), text.upper(), 18, _QUIET, "la")
    return y + 32


def _draw_tissues(pen: _Pen, inputs: ReportInputs, y: float) -> float:
    prediction = inputs.assessment.prediction
    pen.write((_EDGE, y), "QUERY SEGMENTATION", 18, _QUIET, "la")
    if prediction is not None:
        pen.write((_EDGE + 300, y), "pred. DSC", 18, _QUIET, "ra")
        pen.write((_EDGE + _COLUMN, y), "error (ml)", 18, _QUIET, "ra")
    y += 36
    for index, tissue in enumerate(inputs.tissues):
        pen.draw.rounded_rectangle((_EDGE, y + 2, _EDGE + 24, y + 26), 5, outline=colours.of_tissue(index), width=5)
        size = next((size for size in (24, 21, 18) if pen.width(tissue.name, size) <= _NAME), 15)
        pen.write((_EDGE + 38, y + 14), tissue.name, size, _TEXT, "lm")
        if prediction is not None:
            dsc = prediction.per_tissue_dsc.get(tissue.name)
            pen.write((_EDGE + 300, y + 14), "-" if dsc is None else f"{dsc:.2f}", 24, _TEXT, "rm")
            pen.write((_EDGE + _COLUMN, y + 14), _millilitres(inputs, tissue.name), 24, _TEXT, "rm")
        y += 40
    if prediction is not None:
        pen.draw.rounded_rectangle((_EDGE, y + 2, _EDGE + 24, y + 26), 5, fill=colours.ERROR)
        pen.write((_EDGE + 38, y + 14), "predicted error", 24, _TEXT, "lm")
        y += 40
    return y


def _millilitres(inputs: ReportInputs, tissue: str) -> str:
    prediction, volume = inputs.assessment.prediction, inputs.volume
    if prediction is None or volume is None or tissue not in prediction.error_voxels:
        return "-"
    return f"{prediction.error_voxels[tissue] * float(np.prod(volume.grid.spacing)) / 1000:.1f}"


def _draw_slices(pen: _Pen, inputs: ReportInputs, layers: Layers) -> None:
    chosen = choose_slices(layers)
    columns = {1: 1, 2: 2, 3: 2, 4: 2}.get(len(chosen), 3)
    rows = -(-len(chosen) // columns)
    left = _EDGE + _COLUMN + 2 * _GAP
    pixels = min((WIDTH - _EDGE - left - (columns - 1) * _GAP) // columns, (_BOTTOM - _TOP - rows * _CAPTION - (rows - 1) * _GAP) // rows)
    left += (WIDTH - _EDGE - left - columns * pixels - (columns - 1) * _GAP) // 2
    view = field_of_view(layers)
    window = grey_window(layers, chosen, view)
    for i, z in enumerate(chosen):
        x = left + (i % columns) * (pixels + _GAP)
        y = _TOP + (i // columns) * (pixels + _CAPTION + _GAP)
        pen.page.paste(Image.fromarray(draw_slice(layers, z, view, window, pixels)), (x, y))
        _draw_letters(pen, edge_letters(layers.grid), x, y, pixels)
        pen.write((x + 2, y + pixels + 24), _slice_name(inputs, layers, z), 20, _QUIET, "lm")
        area = layers.error_area_mm2[z] / 100
        if area > 0:
            pen.write((x + pixels - 2, y + pixels + 24), f"{area:.1f} cm2", 20, colours.ERROR, "rm")


def _draw_letters(pen: _Pen, letters: dict[str, str], x: int, y: int, pixels: int) -> None:
    middle = pixels // 2
    pen.outlined((x + 8, y + middle), letters["left"], 24, "lm")
    pen.outlined((x + pixels - 8, y + middle), letters["right"], 24, "rm")
    pen.outlined((x + middle, y + 6), letters["top"], 24, "ma")
    pen.outlined((x + middle, y + pixels - 8), letters["bottom"], 24, "ms")


def _slice_name(inputs: ReportInputs, layers: Layers, z: int) -> str:
    parts = [f"slice {z + 1}/{layers.grid.size[0]}", f"{slice_position_mm(layers.grid, z):+.0f} mm"]
    if z < len(inputs.planes):
        plane = inputs.planes[z]
        number = next((text_of(h, "InstanceNumber") for h in inputs.sources if text_of(h, "SOPInstanceUID") == plane.sop_instance_uid), "")
        is_shared = sum(p.sop_instance_uid == plane.sop_instance_uid for p in inputs.planes) > 1
        if is_shared or number:
            parts.insert(1, f"frame {plane.frame_number}" if is_shared else f"im {number}")
    return "  ".join(parts)


def _draw_no_images(pen: _Pen, inputs: ReportInputs) -> None:
    left = _EDGE + _COLUMN + 2 * _GAP
    pen.draw.rounded_rectangle((left, _TOP, WIDTH - _EDGE, _BOTTOM), 14, fill=_CARD)
    middle = ((left + WIDTH - _EDGE) / 2, (_TOP + _BOTTOM) / 2)
    pen.write((middle[0], middle[1] - 24), "No images to show", 44, _TEXT, "mm")
    pen.write((middle[0], middle[1] + 30), _codes(inputs), 26, _QUIET, "mm")


def _codes(inputs: ReportInputs) -> str:
    return ", ".join(reason.code.value for reason in inputs.assessment.reasons[:3])


def _draw_footer(pen: _Pen, inputs: ReportInputs) -> None:
    pen.draw.line((_EDGE, HEIGHT - 60, WIDTH - _EDGE, HEIGHT - 60), fill=_LINE, width=2)
    pen.write((_EDGE, HEIGHT - 22), "Segmentation QC, not for diagnosis", 26, _TEXT)
    claim = "Predicted without a reference segmentation: estimates, not measurements"
    pen.write((WIDTH - _EDGE, HEIGHT - 22), claim, 22, _QUIET, "rs")
