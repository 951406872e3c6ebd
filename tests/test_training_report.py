"""The report: one file, nothing loaded from elsewhere, every figure there, and readable where parts are missing."""

from __future__ import annotations

import base64
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from test_training_protocol import judged, many

from training.protocol import Thresholds, by_agreement, evaluate_records, paired_differences
from training.records import Judged
from training.report import Example, Table, write_report

TISSUES = ("inner", "outer")


def records_of_a_set() -> list[Judged]:
    rows = [replace(r, nsd_interval=r.dsc_interval, family=f"family {r.index % 3} <&>", image_p=0.5, query_p=0.5) for r in many(120, 8)]
    return [replace(r, family="deepmedic") if r.index % 5 == 0 else r for r in rows]


def example() -> Example:
    rng = np.random.default_rng(0)
    query, reference = np.zeros((2, 40, 50), bool), np.zeros((2, 40, 50), bool)
    query[0, 10:20, 10:25], reference[0, 12:22, 12:27] = True, True
    return Example(
        rng.normal(size=(40, 50)), query, reference, query ^ reference, np.roll(query ^ reference, 1, 1), "dynunet-2d: true DSC 0.69"
    )


def write(path: Path, records: list[Judged], **further: Any) -> str:
    results = {"balanced": evaluate_records("balanced", records, Thresholds((0.5, 0.5), 0.8), tissues=TISSUES, repetitions=50)}
    write_report(results, {"balanced": records}, path, title="weights 9.9", facts={"data": "made up"}, tissues=TISSUES, **further)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    records = records_of_a_set()
    worse = [replace(r, predicted_dsc=0.5) for r in records]
    tables = [
        Table("Swapped images", ("kind", "change", "met"), (("good <b>queries</b>", 0.18349, True), ("none", None, False)), "A note.")
    ]
    controls = {"query-only": paired_differences(records, worse, repetitions=50)}
    return path, write(path, records, examples=[example()], controls=controls, tables=tables)


class _Links(HTMLParser):
    """Collects what a page would load, the words it shows, and its identifiers."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.identifiers: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data"):
                self.sources.append(value or "")
            elif name == "id":
                self.identifiers.append(value or "")


def test_nothing_is_loaded_from_elsewhere(page: tuple[Path, str]) -> None:
    links = _Links()
    links.feed(page[1])
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in links.sources)
    assert not {"script", "link", "iframe"} & set(links.tags)
    assert "@import" not in page[1]
    assert "url(http" not in page[1]


def test_every_picture_is_there(page: tuple[Path, str]) -> None:
    assert page[1].count("<svg") == 4
    slices = re.findall(r'<img alt="[^"]+" src="data:image/png;base64,([^"]+)"', page[1])
    assert len(slices) == 4
    assert all(base64.b64decode(s).startswith(b"\x89PNG") for s in slices)
    assert len(set(slices)) == 4
    assert "family 1 &lt;&amp;&gt;" in page[1]
    assert "deepmedic (kept out)" in page[1]


def test_pictures_take_the_pages_ink(page: tuple[Path, str]) -> None:
    assert "currentColor" in page[1]
    assert "#0b0c0e" not in page[1]


def test_figures_are_the_protocols(page: tuple[Path, str]) -> None:
    records = records_of_a_set()
    result = evaluate_records("balanced", records, Thresholds((0.5, 0.5), 0.8), tissues=TISSUES, repetitions=50)
    figures = result["groups"]["segmenter"]
    text = page[1]
    assert f"RMSE {figures['dsc']['rmse']:.3f}" in text
    assert f"AURC {figures['ranking']['aurc']:.3f}" in text
    assert f"coverage {figures['intervals']['dsc']['coverage_by_patient']:.3f} weighted by patient" in text
    assert "kept out: deepmedic" in text
    assert "<td>yes</td>" in text
    assert "0.183" in text
    assert "good &lt;b&gt;queries&lt;/b&gt;" in text
    assert "query-only" in text
    assert "pseudo-reference alone: balanced" in text


def test_recall_stands_beside_every_reduction(page: tuple[Path, str]) -> None:
    """Every table with a reduction of reviews has the recall of failures before it, and no text names one."""
    tables = re.findall(r"<table>.*?</table>", page[1], re.DOTALL)
    with_reduction = [t for t in tables if "<th>reduction</th>" in t]
    assert len(with_reduction) == 1
    assert with_reduction[0].index("<th>recall</th>") < with_reduction[0].index("<th>reduction</th>")
    assert "reduction" not in re.sub(r"<table>.*?</table>", "", page[1], flags=re.DOTALL)


def test_identifiers_do_not_clash_within_the_page(page: tuple[Path, str]) -> None:
    links = _Links()
    links.feed(page[1])
    assert len(links.identifiers) == len(set(links.identifiers))


def test_report_without_intervals_error_maps_or_failures(tmp_path: Path) -> None:
    bare = [judged(i, patient=f"p{i}", dsc=0.9 + i / 100, group="seggen", error_counts=(), agreement_dsc=float("nan")) for i in range(5)]
    results = {"all": evaluate_records("all", bare, Thresholds(), repetitions=20)}
    write_report(results, {"all": bare}, tmp_path / "bare.html", title="bare", facts={})
    text = (tmp_path / "bare.html").read_text()
    assert "no prediction intervals" in text
    assert "no error maps" in text
    assert "Controls" not in text
    assert text.count("<svg") == 3
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)


def test_same_records_same_bytes(tmp_path: Path) -> None:
    records = records_of_a_set()[:12]
    assert write(tmp_path / "a.html", records) == write(tmp_path / "b.html", records)


@pytest.mark.peers
def test_a_browser_shows_it_without_asking_for_more(page: tuple[Path, str], require_peers: Callable[..., None]) -> None:
    require_peers("chromium")
    flags = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    asked: list[str] = []
    wrong: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        try:
            tab = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme="dark")
            tab.on("request", lambda request: asked.append(request.url))
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.goto(page[0].as_uri())
            assert tab.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
            assert tab.evaluate("document.documentElement.scrollWidth") <= 1180
            assert tab.evaluate("getComputedStyle(document.querySelector('figure svg')).color") == "rgb(228, 231, 235)"
        finally:
            browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [page[0].as_uri()]
    assert wrong == []


def test_agreement_alone_can_be_a_set_of_its_own(tmp_path: Path) -> None:
    text = write(tmp_path / "alone.html", by_agreement(records_of_a_set()))
    assert "no error maps" in text
