from dataclasses import replace

import numpy as np
import pytest
from PIL import ImageDraw
from report_cases import build, with_intervals, without_geometry

from qcnode.case import Reason, ReasonCode, Verdict
from qcnode.report import colours
from qcnode.report.previews import _SPAN, HEIGHT, WIDTH, draw_preview
from qcnode.tissues import Tissue


@pytest.fixture
def written(monkeypatch):
    """All texts that are drawn, as (x, y, text)."""
    texts = []
    draw = ImageDraw.ImageDraw.text

    def record(self, xy, text, *args, **kwargs):
        texts.append((*xy, text))
        return draw(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return texts


def has(page, colour):
    return bool((page == colour).all(axis=-1).any())


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL, Verdict.REVIEW])
def test_the_page_says_it_all(verdict, written):
    inputs = build(verdict)
    page = draw_preview(inputs)
    assert page.shape == (HEIGHT, WIDTH, 3)
    assert page.dtype == np.uint8
    prediction = inputs.assessment.prediction
    texts = {text for _, _, text in written}
    assert {verdict.value, f"{prediction.predicted_dsc:.2f}", f"{prediction.predicted_nsd:.2f}", "predicted DSC"} <= texts
    assert {"predicted NSD (2 mm)", "Segmentation QC, not for diagnosis", "right ventricle", "predicted error"} <= texts
    assert any(text.startswith("cardiac-sax 1.0") for text in texts)
    assert any(text.startswith(f"Predicted DSC {prediction.predicted_dsc:.2f} is") for text in texts)
    assert has(page, colours.VERDICTS[verdict])
    assert all(has(page, colours.of_tissue(i)) for i in range(3))


def test_intervals_are_a_bar_with_the_threshold(written, monkeypatch):
    lines = []
    draw = ImageDraw.ImageDraw.line
    monkeypatch.setattr(ImageDraw.ImageDraw, "line", lambda self, xy, **options: (lines.append(tuple(xy)), draw(self, xy, **options)))
    inputs = with_intervals(build())
    page = draw_preview(inputs)
    texts = [text for _, _, text in written]
    assert {"90 %: 0.38-0.52", "90 %: 0.21-0.62", "needs 0.75"} <= set(texts)
    assert texts.count("needs 0.75") == 1  # of the NSD nothing is asked
    bar = page[159, WIDTH - 340 - 250 : WIDTH - 340]  # of the DSC, one column of pixels for every 0.004
    filled = np.flatnonzero((bar == _SPAN).all(axis=-1)) / 250
    assert filled.min() == pytest.approx(0.38, abs=0.02)
    assert filled.max() == pytest.approx(0.52, abs=0.02)
    (threshold,) = [line for line in lines if line[0] == line[2]]
    assert threshold[0] == pytest.approx(WIDTH - 340 - 250 + 0.75 * 250)


def test_without_intervals_there_is_no_bar(written):
    assert not has(draw_preview(build()), _SPAN)
    assert not any(text.startswith(("90 %", "needs")) for _, _, text in written)


def test_slices_are_named_with_position_and_edges(written):
    inputs = build()
    draw_preview(inputs)
    texts = [text for _, _, text in written]
    assert texts.count("RAH") == texts.count("LPF") == texts.count("FA") == texts.count("HP") == 6
    assert any(text.startswith("slice 2/9  im 8  +") and text.endswith(" mm") for text in texts)


def test_slices_of_an_enhanced_instance_are_named_by_frame(written):
    draw_preview(build(is_enhanced=True))
    assert any(text.startswith("slice 2/9  frame 4 ") for _, _, text in written)


def test_no_patient_is_named(written):
    inputs = build()
    draw_preview(inputs)
    everything = " ".join(text for _, _, text in written)
    for secret in ("Doe", "Jane", "P1", "19700101", "A1"):
        assert secret not in everything


@pytest.mark.parametrize("inputs", [build(Verdict.UNASSESSABLE, images=False), without_geometry(build())], ids=["no images", "no geometry"])
def test_without_images_the_page_holds_text(inputs, written):
    page = draw_preview(inputs)
    texts = {text for _, _, text in written}
    assert {"UNASSESSABLE", "No images to show"} <= texts
    assert not has(page, colours.ERROR)


def test_images_without_a_readable_query_are_shown(written):
    inputs = replace(build(Verdict.UNASSESSABLE), query_masks=None)
    draw_preview(inputs)
    assert any(text.startswith("slice ") for _, _, text in written)


def test_long_texts_stay_in_their_column(written):
    inputs = build()
    reasons = tuple(Reason(ReasonCode.PARTIAL_COVERAGE, "tissue lies outside of the box that the network sees " * 4) for _ in range(8))
    names = tuple(Tissue(f"a very long name of a tissue number {i}", (), ("1", "SCT", "T")) for i in range(4))
    inputs = replace(inputs, tissues=names, assessment=replace(inputs.assessment, verdict=Verdict.REVIEW, reasons=reasons))
    page = draw_preview(inputs)
    assert max(y for _, y, _ in written) < HEIGHT
    assert any(text.startswith("cardiac-sax 1.0") for _, _, text in written)
    gap = page[210:1040, 455:480]
    assert not (gap > 100).any()


def test_the_same_inputs_give_the_same_page():
    assert np.array_equal(draw_preview(build()), draw_preview(build()))
