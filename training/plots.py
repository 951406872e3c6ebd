"""The pictures of an evaluation: SVG text that stands in a page and takes the page's text colour, and PNG slices as data URIs.

Nothing here computes a figure of the protocol; see training.protocol. Colours are Okabe and Ito's, told apart by every kind of colour
vision and legible on light and dark ground.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from training.protocol.columns import FAILURES, Columns
from training.protocol.ranking import risk_coverage

PALETTE = ("#1f88cf", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999933", "#888888")
TISSUE_COLOURS = ("#56b4e9", "#f0e442", "#00be8c", "#ebebeb", "#8c8cff")
ERROR_COLOUR = (0.84, 0.37, 0.0, 0.85)
_INK = "#0b0c0e"  # stands for the page's text colour, put in when the SVG is written
_BOTH = (("DSC", "dsc"), ("NSD", "nsd"))

Segmentation = npt.NDArray[np.bool_]


def colours_of(families: Sequence[str]) -> dict[str, str]:
    """A colour for each family, in the order of the legend."""
    return {family: PALETTE[i % len(PALETTE)] for i, family in enumerate(dict.fromkeys(families))}


def scatter(table: Columns, families: Sequence[str], colours: Mapping[str, str], name: str) -> str:
    """Predicted against true DSC and NSD of each query, coloured by family, prediction intervals as faint bars."""
    with _drawing(name, "scatter", 2) as (figure, axes):
        for ax, (label, column) in zip(axes, _BOTH, strict=True):
            true, predicted = getattr(table, column), getattr(table, f"predicted_{column}")
            bars = [[(t, low), (t, high)] for t, (low, high) in zip(true, getattr(table, f"{column}_interval"), strict=True)]
            ax.add_collection(LineCollection(bars, colors="#888888", linewidths=0.5, alpha=0.18, rasterized=True))
            for family, colour in colours.items():
                chosen = np.array(families) == family
                ax.scatter(true[chosen], predicted[chosen], s=8, alpha=0.75, lw=0, color=colour, label=family, rasterized=True)
            _diagonal(ax)
            _square(ax, f"true {label}", f"predicted {label}")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5, columnspacing=1.2, markerscale=2.2)
        return _svg(figure)


def bland_altman(table: Columns, figures: Mapping[str, Any], families: Sequence[str], colours: Mapping[str, str], name: str) -> str:
    """Difference (predicted - true) over the mean of both, with bias and limits of agreement."""
    with _drawing(name, "bland-altman", 2, height=3.3) as (figure, axes):
        for ax, (label, column) in zip(axes, _BOTH, strict=True):
            true, predicted = getattr(table, column), getattr(table, f"predicted_{column}")
            for family, colour in colours.items():
                chosen = np.array(families) == family
                half, difference = (true + predicted)[chosen] / 2, (predicted - true)[chosen]
                ax.scatter(half, difference, s=8, alpha=0.75, lw=0, color=colour, rasterized=True)
            for value, style in ((figures[column]["bias"], "-"), *((v, "--") for v in figures[column]["limits_of_agreement"])):
                if value is not None:
                    ax.axhline(value, color=_INK, lw=1, ls=style)
                    ax.annotate(f"{value:+.3f}", (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8)
            reach = max(0.2, 1.1 * float(np.abs(predicted - true).max()))
            ax.set(xlabel=f"mean of true and predicted {label}", ylabel="predicted - true", xlim=(0, 1), ylim=(-reach, reach))
        return _svg(figure)


def risk_coverage_curves(table: Columns, name: str) -> str:
    """Mean risk 1 - DSC of the most confident share of the queries: as predicted, ideal and in random order; and failures among them."""
    with _drawing(name, "risk-coverage", 2, height=3.3) as (figure, axes):
        kinds = ((1 - table.dsc, "mean of 1 - true DSC"), ((table.dsc < FAILURES[0]).astype(float), f"share with true DSC < {FAILURES[0]}"))
        for ax, (risk, label) in zip(axes, kinds, strict=True):
            for confidence, word, colour, style in (
                (table.predicted_dsc, "by predicted DSC", PALETTE[0], "-"),
                (table.dsc, "ideal order", PALETTE[2], "--"),
            ):
                ax.plot(*risk_coverage(risk, confidence), color=colour, ls=style, lw=1.6, label=word)
            ax.plot([0, 1], [risk.mean()] * 2, color="#888888", ls=":", lw=1.6, label="random order")
            ax.set(xlabel="coverage (share accepted)", ylabel=label, xlim=(0, 1), ylim=(0, max(0.05, float(risk.mean()) * 1.35)))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        return _svg(figure)


def reliability(intervals: Mapping[str, Mapping[str, Any] | None], name: str) -> str | None:
    """Coverage per bin of the prediction, and mean truth over mean prediction of each bin; None without intervals."""
    if any(intervals[column] is None for _, column in _BOTH):
        return None
    with _drawing(name, "reliability", 2) as (figure, axes):
        for (label, column), colour, marker in zip(_BOTH, PALETTE, "os", strict=False):
            rows = [row for row in (intervals[column] or {})["per_bin"] if row["queries"]]
            middle = [float(row["bin"][:3]) + 0.05 for row in rows]
            axes[0].plot(middle, [row["coverage"] for row in rows], color=colour, marker=marker, ms=5, lw=1.2, label=label)
            for x, row in zip(middle, rows, strict=True):
                if column == "dsc":
                    axes[0].annotate(str(row["queries"]), (x, 0.02), xycoords=("data", "axes fraction"), ha="center", fontsize=7)
            truth, prediction = [row["mean_true"] for row in rows], [row["mean_predicted"] for row in rows]
            axes[1].plot(prediction, truth, color=colour, marker=marker, ms=5, lw=1.2)
        axes[0].set_box_aspect(1)
        axes[0].axhline(0.9, color=_INK, lw=1, ls="--")
        axes[0].set(xlabel="predicted value (numbers: DSC queries)", ylabel="coverage of 90 % intervals", xlim=(0, 1), ylim=(0, 1.03))
        _diagonal(axes[1])
        _square(axes[1], "mean predicted, per bin", "mean true, per bin")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        return _svg(figure)


def slice_picture(values: npt.NDArray[Any], contours: Segmentation, errors: Segmentation | None = None) -> str:
    """PNG data URI of a slice (y, x) with the contours of each tissue and the errors of any tissue filled, both (tissue, y, x)."""
    height, width = values.shape
    figure = Figure(figsize=(3, 3 * height / width), dpi=96)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    low, high = np.percentile(values, [1, 99])
    ax.imshow(values, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bilinear")
    if errors is not None:
        ax.imshow(np.multiply.outer(errors.any(0), ERROR_COLOUR), interpolation="nearest")
    for i, tissue in enumerate(contours):
        if tissue.any() and not tissue.all():
            ax.contour(tissue.astype(float), levels=[0.5], colors=[TISSUE_COLOURS[i % len(TISSUE_COLOURS)]], linewidths=1.3)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=96)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def window(inside: Segmentation, margin: int = 12) -> tuple[slice, slice]:
    """The square part of a slice around True in `inside` (y, x), as far as the slice reaches; the whole slice where nothing is."""
    rows, cols = np.nonzero(inside)
    if not rows.size:
        return slice(0, inside.shape[0]), slice(0, inside.shape[1])
    half = max(np.ptp(rows), np.ptp(cols)) // 2 + margin
    middle = (int(rows.min() + rows.max()) // 2, int(cols.min() + cols.max()) // 2)
    y, x = (slice(max(m - half, 0), min(m + half + 1, n)) for m, n in zip(middle, inside.shape, strict=True))
    return y, x


@contextmanager
def _drawing(name: str, kind: str, panels: int, height: float = 4.0) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """A row of axes in the house's style; name and kind keep the SVG's inner references apart from those of others on the page."""
    style: dict[Any, Any] = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    style |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "legend.frameon": False}
    style |= {"svg.fonttype": "none", "svg.hashsalt": f"{name} {kind}", "font.family": "sans-serif"}
    with mpl.rc_context(style):
        figure = Figure(figsize=(4.3 * panels, height), layout="constrained")
        yield figure, [figure.add_subplot(1, panels, i + 1) for i in range(panels)]


def _svg(figure: Figure) -> str:
    """The figure without XML header, dates and names of groups, which would stand twice on a page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, dpi=150, metadata={"Date": None})
    text = file.getvalue()
    return re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :]).replace(_INK, "currentColor")


def _diagonal(ax: Axes) -> None:
    ax.plot([0, 1], [0, 1], color=_INK, lw=0.8, ls="--", zorder=0.5)


def _square(ax: Axes, x_label: str, y_label: str) -> None:
    ax.set(xlabel=x_label, ylabel=y_label, xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
