"""The evaluation as one HTML file that needs nothing else: figures and slices are inside it, no script, no network.

Readable in light and dark; a reduction of reviews never stands without the recall of failures beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from training import plots
from training.protocol import HEADLINE, groups
from training.protocol.columns import columns
from training.records import Judged
from training.sets import KEPT_OUT

WORDS = {
    "dsc_mae": "DSC: MAE",
    "dsc_r": "DSC: r",
    "nsd_mae": "NSD: MAE",
    "nsd_r": "NSD: r",
    "error_map_dsc": "error map: DSC",
    "auroc": "failures: AUROC",
    "recall": "failures: recall of prediction < 0.75",
}
"""What the bootstrapped statistics are called in the page."""

Segmentation = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Example:
    """One slice of a judged query. image: intensities (y, x); the others (tissue, y, x). The caption must not hold patient data."""

    image: npt.NDArray[np.floating[Any]]
    query: Segmentation
    reference: Segmentation
    true_error: Segmentation
    predicted_error: Segmentation
    caption: str


@dataclass(frozen=True, slots=True)
class Table:
    """A further table of the report. Cells: text or numbers, None for what is undefined."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | bool | None, ...], ...]
    note: str = ""


def write_report(
    results: Mapping[str, Mapping[str, Any]],
    records: Mapping[str, Sequence[Judged]],
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    tissues: Sequence[str] = (),
    examples: Sequence[Example] = (),
    controls: Mapping[str, Mapping[str, Any]] | None = None,
    tables: Sequence[Table] = (),
) -> None:
    """Write the report to `path`.

    results: what evaluate_records gave, by set; records: the same sets' records, for the figures. facts: lines about weights and data.
    controls: what paired_differences gave (ours first), by name of the control; the pseudo-reference alone is added. tables: further
    ones, such as the swapped images. Raises KeyError where a set has figures but no records.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, percent=_percent, span=_span)
    page = environment.get_template("report.html").render(
        title=title,
        facts=facts,
        words=WORDS,
        headline={name: _headline(result) for name, result in results.items()},
        sets=[_set_section(name, result, records[name]) for name, result in results.items()],
        controls=_all_controls(results, controls or {}),
        tables=tables,
        examples=[_pictures(example) for example in examples],
        tissues=list(zip(tissues, plots.TISSUE_COLOURS, strict=False)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".part")
    fresh.write_text(page, encoding="utf-8")
    fresh.replace(path)


def _headline(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Figures of the headline group; of all queries where a set holds no segmenter's."""
    of_groups = result["groups"]
    return dict(of_groups.get(HEADLINE, of_groups["all"]))


def _set_section(name: str, result: Mapping[str, Any], records: Sequence[Judged]) -> dict[str, Any]:
    of_groups = groups(records)
    drawn = of_groups.get(HEADLINE, of_groups["all"])
    apart = of_groups.get(f"kept out: {KEPT_OUT}", []) if HEADLINE in of_groups else []
    families, families_apart = [r.family for r in drawn], [f"{r.family} (kept out)" for r in apart]
    colours = plots.colours_of(sorted(families) + families_apart)
    table, figures = columns(drawn), _headline(result)
    reliability = plots.reliability(figures["intervals"], name)
    return {
        "name": name,
        "result": result,
        "figures": figures,
        "drawn": HEADLINE if HEADLINE in of_groups else "all queries",
        "scatter": _svg(plots.scatter(columns([*drawn, *apart]), [*families, *families_apart], colours, name)),
        "bland_altman": _svg(plots.bland_altman(table, figures, families, colours, name)),
        "risk_coverage": _svg(plots.risk_coverage_curves(table, name)),
        "reliability": _svg(reliability) if reliability else None,
    }


def _all_controls(results: Mapping[str, Mapping[str, Any]], given: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The given controls, and the pseudo-reference alone on every set whose records know it."""
    found = {name: _headline(result)["pseudo_reference"] for name, result in results.items()}
    alone = {f"pseudo-reference alone: {name}": part["network_against_agreement"] for name, part in found.items() if part}
    return {**given, **alone}


def _svg(text: str) -> Markup:
    return Markup(text)  # noqa: S704  # nosec B704  # drawn by training.plots, names in it escaped by matplotlib


def _pictures(example: Example) -> dict[str, str]:
    shown = example.query | example.reference | example.true_error | example.predicted_error
    y, x = plots.window(np.asarray(shown.any(0)))
    values = example.image[y, x]
    query, reference = example.query[:, y, x], example.reference[:, y, x]
    return {
        "caption": example.caption,
        "query": plots.slice_picture(values, query),
        "reference": plots.slice_picture(values, reference),
        "true_error": plots.slice_picture(values, query, example.true_error[:, y, x]),
        "predicted_error": plots.slice_picture(values, query, example.predicted_error[:, y, x]),
    }


def _number(value: Any, digits: int = 3) -> str:
    """A cell: numbers with `digits` places, words as they are, a dash for what is undefined."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _span(pair: Sequence[float | None], digits: int = 3) -> str:
    """The two ends of an interval."""
    return f"{_number(pair[0], digits)} to {_number(pair[1], digits)}"
