"""The real viewer shows the query, the error map and the summary page, on the right slices, without an error of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hearts import Heart
from looking import Look, agreement, coloured, on_screen, recognise, within
from playwright.sync_api import BrowserType, sync_playwright
from pydicom import dcmread
from road import Road, voxels
from scipy.ndimage import binary_dilation
from viewer import CHROMIUM_FLAGS, Viewer

from qcnode.demo.phantom_dicom import PhantomStudy

# Software GL loses its context now and then: each look is a new browser, and is tried again before it counts as a failure.
pytestmark = [pytest.mark.peers, pytest.mark.timeout(420), pytest.mark.flaky(reruns=2)]

SCREENSHOTS = Path(__file__).parents[2] / "var/screenshots"
Planes = np.ndarray


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserType]:
    with sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="module")
def phantom_viewer(phantom_road: Road, viewer_pages: Path) -> Iterator[Viewer]:
    with Viewer(viewer_pages, phantom_road.archive.dicomweb_url) as viewer:
        yield viewer


@contextmanager
def looking_at(road: Road, viewer: Viewer, chromium: BrowserType, series_instance_uid: str = "") -> Iterator[Look]:
    """The road's study, or one series of it alone, opened in the viewer. A failure leaves a screenshot.

    A browser of its own each time: software GL gives back what one page drew with only when the browser ends.
    """
    browser = chromium.launch(executable_path=shutil.which("chromium"), args=list(CHROMIUM_FLAGS))
    look = Look(browser.new_page(viewport={"width": 1280, "height": 800}), SCREENSHOTS)
    try:
        look.open_study(viewer.url(road.study_instance_uid, series_instance_uid))
        yield look
        assert look.page_errors == []
    except BaseException as failure:
        look.keep("failed")
        failure.add_note(f"page errors: {look.page_errors}; console: {look.console_errors[-5:]}; see {SCREENSHOTS}/failed.png")
        raise
    finally:
        browser.close()


def description(road: Road, query: str, kind: str) -> str:
    return str(road.answer(query, kind).SeriesDescription)


def check_slices(look: Look, planes: Planes, least: int) -> None:
    """Leaf through; each slice shows exactly what `planes` (z, y, x; instance number z + 1) hold, and at least `least` slices something."""
    drawn = 0
    for _ in range(len(planes)):
        z = look.instance_number() - 1
        viewport = look.viewport()
        seen = coloured(viewport)
        expected = on_screen(planes[z], viewport) >= 0.5
        if expected.sum() > 1500:  # fewer pixels are mostly outline
            assert agreement(seen, expected) > 0.8, f"slice {z}: other than what the SEG holds is drawn"
            drawn += 1
        elif not expected.any():
            assert seen.sum() < 100, f"slice {z}: something is drawn that the SEG does not hold"
        look.next_slice()
    assert drawn >= least


def check_page(look: Look, page: Planes) -> None:
    """The viewport shows the summary page (y, x, rgb)."""
    viewport = look.viewport()
    assert viewport.std() > 10, "the viewport is black"
    assert np.corrcoef(on_screen(page.mean(axis=2), viewport).ravel(), viewport.mean(axis=2).ravel())[0, 1] > 0.6


def test_the_query_draws_on_its_slices(phantom_road: Road, phantom: PhantomStudy, phantom_viewer: Viewer, chromium: BrowserType) -> None:
    query = phantom.queries[1]
    with looking_at(phantom_road, phantom_viewer, chromium) as look:
        look.open_segmentation(str(query.dataset.SeriesDescription))
        look.keep("phantom-query")
        check_slices(look, query.segmentation.any(0), least=4)


def test_the_error_map_draws_on_its_slices(
    phantom_road: Road, phantom: PhantomStudy, phantom_viewer: Viewer, chromium: BrowserType
) -> None:
    error_map = np.any(list(voxels(phantom_road.answer("bad", "error_map"), phantom.images).values()), axis=0)
    with looking_at(phantom_road, phantom_viewer, chromium) as look:
        look.open_segmentation(description(phantom_road, "bad", "error_map"))
        look.keep("phantom-error-map")
        check_slices(look, error_map, least=3)


def test_the_summary_page_shows(phantom_road: Road, phantom_viewer: Viewer, chromium: BrowserType) -> None:
    with looking_at(phantom_road, phantom_viewer, chromium) as look:
        look.open_picture(description(phantom_road, "bad", "summary"))
        look.keep("phantom-summary")
        check_page(look, summary_page(phantom_road, "bad"))


@pytest.mark.realdata
def test_a_real_cine_series_with_query_error_map_and_summary(
    heart_road: Road, heart: Heart, viewer_pages: Path, chromium: BrowserType
) -> None:
    """With several phases the viewer numbers slices in its own way: what is drawn must lie on the slice whose picture is shown.

    Of segments that overlap (those of an error map do) it then draws not every one, and a colour picture in the place of such a series
    stays black: the summary is opened by itself.
    """
    with Viewer(viewer_pages, heart_road.archive.dicomweb_url) as viewer:
        for name, segmentation in (("heart-query", heart.bad), ("heart-error-map", heart_road.answer("bad", "error_map"))):
            planes = np.any(list(voxels(segmentation, heart.judged_images).values()), axis=0)
            with looking_at(heart_road, viewer, chromium) as look:
                look.open_segmentation(str(segmentation.SeriesDescription))
                look.middle_phase()
                look.keep(name)
                viewport = look.viewport()
                z = recognise(viewport, [image.pixel_array for image in heart.judged_images])
                expected = on_screen(planes[z], viewport) >= 0.5
                seen = coloured(viewport)
                assert seen.sum() > 1000, "nothing is drawn"
                assert within(seen, binary_dilation(expected, iterations=3)) > 0.9, "something else is drawn than the SEG holds"
        summary = heart_road.answer("bad", "summary")
        with looking_at(heart_road, viewer, chromium, str(summary.SeriesInstanceUID)) as look:
            look.wait_for_picture()
            look.keep("heart-summary")
            check_page(look, summary_page(heart_road, "bad"))


def summary_page(road: Road, query: str) -> Planes:
    """Pixels (y, x, rgb) of a query's Secondary Capture, as the node wrote them."""
    return dcmread(road.node.results_of(road.outcome(query)) / "summary.dcm").pixel_array
