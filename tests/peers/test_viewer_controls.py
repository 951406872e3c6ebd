"""The case page's viewer under a reader's hands: mouse and keys, grey values, planes, contrasts, and what it says while it loads."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from browsing import PATIENCE_MS, Readers
from case_viewer import CaseViewer
from playwright.sync_api import Page, Route, expect
from report_cases import build
from test_viewer import isotropic
from web_samples import Site, open_site

from qcnode.imaging.grid import Volume
from qcnode.report.inputs import ReportInputs
from qcnode.report.viewer import write_viewer
from qcnode.web.server import WebServer

pytestmark = pytest.mark.peers

FLAT, CUBE = 1, 2  # items: a stack of nine thick slices, and an isotropic volume in two contrasts
ONLY_ERROR = [3, 5, 7]


def put_pictures(site: Site, name: str, inputs: ReportInputs) -> None:
    folder = site.database.directory / "results" / name
    folder.mkdir(parents=True)
    write_viewer(inputs, folder)
    site.put(name, pictures=False)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    site = open_site(tmp_path_factory.mktemp("site"))
    put_pictures(site, "flat", build())
    cube = isotropic()
    second = Volume(np.ascontiguousarray(cube.volume.array[:, ::-1]), cube.volume.grid)
    put_pictures(site, "cube", replace(cube, further_contrasts={"T1": second}))
    server = WebServer(site.app, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def open_case(sign_in: Readers, address: str, item: int) -> CaseViewer:
    page = sign_in("meyer", 1000, 640)
    page.goto(f"{address}/cases/{item}")
    viewer = CaseViewer(page)
    viewer.wait()
    return viewer


def test_wheel_keys_strip_and_the_worst_slice(sign_in: Readers, address: str) -> None:
    viewer = open_case(sign_in, address, FLAT)
    worst = viewer.text("where").splitlines()[0]
    steps = [("Home", "1 / 9"), ("ArrowDown", "2 / 9"), ("PageDown", "7 / 9"), ("End", "9 / 9"), ("ArrowUp", "8 / 9"), ("w", worst)]
    for key, shown in steps:
        viewer.press(key)
        assert viewer.text("where").startswith(shown), key
    viewer.press("Home")
    viewer.wheel(3)
    assert viewer.text("where").startswith("4 / 9")
    viewer.wheel(-9)
    assert viewer.text("where").startswith("1 / 9"), "there is nothing before the first slice"
    strip = viewer.page.locator(".qcv-strip-bars")
    box = strip.bounding_box()
    assert box
    strip.click(position={"x": box["width"] * 5.5 / 9, "y": 20})
    viewer.drawn()
    assert viewer.text("where").startswith("6 / 9")
    assert "slice 6 of 9" in viewer.page.locator(".qcv-strip-words").inner_text()
    viewer.switch("Worst")
    assert viewer.text("where").startswith(worst)
    assert f"worst: slice {worst.split()[0]}," in viewer.page.locator(".qcv-strip-words").inner_text()


def test_grey_values_by_mouse_and_presets(sign_in: Readers, address: str) -> None:
    viewer = open_case(sign_in, address, FLAT)
    viewer.press("q", "e")
    before = viewer.state()["window"]
    grey = viewer.pixels().mean()
    viewer.drag(0, 60, "right")
    moved = viewer.state()["window"]
    assert moved["low"] > before["low"]
    assert moved["high"] - moved["low"] == pytest.approx(before["high"] - before["low"])
    assert viewer.pixels().mean() < grey, "a higher level is a darker picture"
    viewer.drag(80, 0, "right")
    wider = viewer.state()["window"]
    assert wider["high"] - wider["low"] > 1.2 * (moved["high"] - moved["low"])
    level, width = (wider["low"] + wider["high"]) / 2, wider["high"] - wider["low"]
    assert viewer.text("name").splitlines()[1] == f"W {width:.0f}  L {level:.0f}"
    presets = viewer.page.get_by_label("Grey values", exact=True)
    assert presets.input_value() == "own"
    for name, factor in (("organ", 1), ("narrow", 0.5), ("wide", 2)):
        presets.select_option(name)
        viewer.drawn()
        window = viewer.state()["window"]
        assert window["high"] - window["low"] == pytest.approx(factor * (before["high"] - before["low"])), name


def test_zoom_and_pan(sign_in: Readers, address: str) -> None:
    viewer = open_case(sign_in, address, FLAT)
    start = viewer.state()
    viewer.press("+", "+")
    near = viewer.state()
    assert near["sideMm"] == pytest.approx(start["sideMm"] / 1.25**2)
    assert (near["u"], near["v"]) == (start["u"], start["v"])
    viewer.drag(40, -25)
    moved = viewer.state()
    per_pixel = near["sideMm"] / min(near["width"], near["height"]) / 1.5  # voxels of 1.5 mm
    assert moved["u"] - near["u"] == pytest.approx(-40 * per_pixel)
    assert moved["v"] - near["v"] == pytest.approx(25 * per_pixel)
    viewer.page.keyboard.down("Control")
    viewer.wheel(-1)
    viewer.page.keyboard.up("Control")
    assert viewer.state()["sideMm"] < moved["sideMm"]
    viewer.switch("Whole slice")
    assert viewer.state()["sideMm"] is None
    viewer.page.mouse.dblclick(*viewer.centre())
    viewer.drawn()
    assert {key: viewer.state()[key] for key in ("u", "v", "sideMm")} == {key: start[key] for key in ("u", "v", "sideMm")}


def test_opacity_of_the_errors(sign_in: Readers, address: str) -> None:
    viewer = open_case(sign_in, address, FLAT)
    viewer.press("q")
    slider = viewer.page.get_by_label("Opacity of the predicted errors")
    spread = []
    for value in ("5", "50", "100"):
        slider.fill(value)
        viewer.drawn()
        spread.append(int(np.ptp(viewer.pixels().astype(int), axis=2).sum()))
    assert spread[0] > 0
    assert spread[1] > 3 * spread[0]
    assert spread[2] > 1.5 * spread[1]


def test_three_planes_of_an_isotropic_volume(sign_in: Readers, address: str) -> None:
    viewer = open_case(sign_in, address, CUBE)
    viewer.switch("3 planes")
    expect(viewer.page.locator(".qcv-panel")).to_have_count(3)
    assert [viewer.text("name", i).splitlines()[0] for i in range(3)] == ["cine, axial", "cine, coronal", "cine, sagittal"]
    assert [viewer.text("top", i) for i in range(3)] == ["A", "H", "H"]
    assert viewer.state()["position"] == ONLY_ERROR, "every plane shows its worst slice"
    box = viewer.panel(0).bounding_box()
    assert box
    x, y = viewer.centre(0)
    viewer.page.mouse.click(x + 20, y)
    viewer.drawn()
    z, row, column = viewer.state()["position"]
    assert [viewer.text("where", i).split(" /")[0] for i in range(3)] == [str(z + 1), str(row + 1), str(column + 1)]
    assert (z, column) != (ONLY_ERROR[0], ONLY_ERROR[2])
    viewer.wheel(1, panel=1)
    assert viewer.state()["position"] == [z, row + 1, column]
    viewer.switch("3 planes")
    expect(viewer.page.locator(".qcv-panel")).to_have_count(2)


def test_contrasts_stand_side_by_side_at_one_place(sign_in: Readers, address: str) -> None:
    viewer = open_case(sign_in, address, CUBE)
    assert [viewer.text("name", i).splitlines()[0] for i in range(2)] == ["cine", "T1"]
    viewer.press("End")
    viewer.press("+")
    assert [viewer.text("where", i).splitlines()[0] for i in range(2)] == ["20 / 20"] * 2
    viewer.page.mouse.move(*viewer.centre(0))
    viewer.drawn()
    values = [int(viewer.text("value", i)) for i in range(2)]
    z, y, x = viewer.page.evaluate("([x, y]) => document.querySelector('#viewer').viewer.voxelAt(x, y)", list(viewer.centre(0)))
    assert values == [(z * 24 + y) * 28 + x, (z * 24 + 23 - y) * 28 + x], "both values of the voxel under the pointer"
    viewer.switch("T1")
    expect(viewer.page.locator(".qcv-panel")).to_have_count(1)


# --- what is missing is said


@pytest.fixture
def page(sign_in: Readers, address: str) -> Page:
    return sign_in("meyer", 1000, 640)


def test_the_image_comes_first_and_the_rest_is_announced(page: Page, address: str) -> None:
    held: list[Route] = []
    page.route("**/viewer/query.bin", lambda route: held.append(route))
    page.route("**/viewer/errors.bin", lambda route: held.append(route))
    page.goto(f"{address}/cases/{FLAT}")
    viewer = CaseViewer(page)
    note = page.locator(".qcv-loading")
    expect(note).to_have_text("Loading the segmentation and the error map", timeout=PATIENCE_MS)
    viewer.drawn()
    assert viewer.pixels().std() > 10, "the image is there"
    assert np.ptp(viewer.pixels(), axis=2).max() <= 2
    assert page.evaluate("performance.getEntriesByName('first picture').length") == 1
    for route in held:
        if route.request.url.endswith("query.bin"):
            route.continue_()
    expect(note).to_have_text("Loading the error map", timeout=PATIENCE_MS)
    for route in held:
        if route.request.url.endswith("errors.bin"):
            route.continue_()
    expect(note).to_have_text("", timeout=PATIENCE_MS)
    viewer.wait()
    assert np.ptp(viewer.pixels(), axis=2).max() > 50


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("viewer.json", "The pictures could not be loaded."),
        ("contrast-1.bin", "The image could not be loaded."),
        ("query.bin", "The segmentation could not be loaded: its contours are missing."),
        ("errors.bin", "The error map could not be loaded: predicted errors are missing."),
    ],
)
def test_what_can_not_be_loaded_is_said_and_tried_again(page: Page, address: str, file: str, said: str) -> None:
    page.route(f"**/viewer/{file}", lambda route: route.fulfill(status=500))
    page.goto(f"{address}/cases/{FLAT}")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text(said, timeout=PATIENCE_MS)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    if file.endswith("s.bin") or file == "query.bin":
        expect(page.locator(".qcv-loading")).to_have_text("", timeout=PATIENCE_MS)
        assert CaseViewer(page).pixels().std() > 10, "the rest is shown"
    page.unroute(f"**/viewer/{file}")
    alert.get_by_text("Try again").click()
    CaseViewer(page).wait()
    expect(alert).to_have_count(0)


def test_a_server_that_does_not_answer_and_a_session_that_is_over(page: Page, address: str) -> None:
    page.route("**/viewer/viewer.json", lambda route: route.abort())
    page.goto(f"{address}/cases/{FLAT}")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.", timeout=PATIENCE_MS)
    page.unroute("**/viewer/viewer.json")
    page.route("**/viewer/contrast-1.bin", lambda route: route.fulfill(status=401))
    page.get_by_text("Try again").click()
    expect(page.get_by_role("alert")).to_contain_text("You are signed out.", timeout=PATIENCE_MS)
