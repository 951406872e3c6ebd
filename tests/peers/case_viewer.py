"""The viewer of a case page as a test sees it: what its canvases show, and which voxel each of their pixels shows."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Locator, Page
from waiting import wait_for

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.bool_]

_STATE = """(number) => {
    const viewer = document.querySelector("#viewer").viewer;
    const { canvas, plane, contrast } = viewer.panels[number];
    const view = viewer.views[plane];
    return { png: canvas.toDataURL(), width: canvas.width, height: canvas.height, ...view,
             position: viewer.position, window: viewer.windows[contrast], opacity: viewer.shows.opacity };
}"""
_IS_COMPLETE = "() => Boolean(document.querySelector('#viewer')?.viewer?.files?.every((file) => file.isLoaded.every(Boolean)))"
_NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


class CaseViewer:
    """The viewer on `page`, which shows a case."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait(self) -> None:
        """Until every slice of every file is there and drawn."""
        wait_for(lambda: self.page.evaluate(_IS_COMPLETE), 20, "all pictures")
        self.drawn()

    def drawn(self) -> None:
        """Until what was asked for before is drawn."""
        self.page.evaluate(_NEXT_FRAME)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.drawn()

    def switch(self, name: str) -> None:
        """Press the button of this name."""
        self.page.locator(".qcv-controls").get_by_text(name, exact=True).click()
        self.drawn()

    def panel(self, number: int = 0) -> Locator:
        return self.page.locator(".qcv-panel").nth(number)

    def text(self, name: str, panel: int = 0) -> str:
        """What stands at a place of a panel: "left", "where", "name", "loading" ..."""
        return str(self.panel(panel).locator(f".qcv-{name}").inner_text())

    def state(self, panel: int = 0) -> dict[str, Any]:
        """Where the viewer stands; its view {u, v, sideMm}, its canvas as PNG."""
        found: dict[str, Any] = self.page.evaluate(_STATE, panel)
        return found

    def pixels(self, panel: int = 0) -> Pixels:
        """The canvas of a panel (y, x, red green blue), without what stands over it."""
        return picture(self.state(panel))

    def slice_number(self) -> int:
        """The slice that the page says it shows, counted from 0."""
        found = re.match(r"(\d+) / \d+", self.text("where"))
        assert found
        return int(found[1]) - 1

    def position_mm(self) -> float:
        """The position that the page says the slice has."""
        return float(self.text("where").splitlines()[1].removesuffix(" mm").replace("\u2212", "-"))

    def centre(self, panel: int = 0) -> tuple[float, float]:
        """The middle of a panel on the screen."""
        box = self.panel(panel).bounding_box()
        assert box
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, dx: float, dy: float, button: Any = "left", panel: int = 0) -> None:
        """Drag the mouse from the middle of a panel."""
        x, y = self.centre(panel)
        self.page.mouse.move(x, y)
        self.page.mouse.down(button=button)
        self.page.mouse.move(x + dx / 2, y + dy / 2)
        self.page.mouse.move(x + dx, y + dy)
        self.page.mouse.up(button=button)
        self.drawn()

    def wheel(self, notches: int, panel: int = 0) -> None:
        """Turn the wheel over the middle of a panel."""
        self.page.mouse.move(*self.centre(panel))
        for _ in range(abs(notches)):
            self.page.mouse.wheel(0, 120 if notches > 0 else -120)
            self.page.wait_for_timeout(30)
        self.drawn()


def picture(state: dict[str, Any]) -> Pixels:
    """The canvas of a state (y, x, red green blue)."""
    content = base64.b64decode(state["png"].split(",")[1])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def at_pixels(plane: npt.NDArray[np.generic], state: dict[str, Any], spacing: tuple[float, float]) -> npt.NDArray[np.generic]:
    """For each pixel of the canvas the value of the voxel (row, column) that its centre lies in; 0 outside of the plane.

    The view's side in mm fills the shorter edge of the canvas, its centre (u, v) is counted from the corner of the first voxel.
    """
    width, height = state["width"], state["height"]
    per_mm = min(width, height) / state["sideMm"]
    columns = np.floor((np.arange(width) + 0.5 - width / 2) / (per_mm * spacing[1]) + state["u"]).astype(int)
    rows = np.floor((np.arange(height) + 0.5 - height / 2) / (per_mm * spacing[0]) + state["v"]).astype(int)
    padded = np.pad(plane, 1)
    return padded[np.ix_((rows + 1).clip(0, plane.shape[0] + 1), (columns + 1).clip(0, plane.shape[1] + 1))]


def centres(
    state: dict[str, Any], spacing: tuple[float, float], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Plane]:
    """Canvas row and column of the centre of each voxel of a plane, and which of them lie in the canvas."""
    per_mm = min(state["width"], state["height"]) / state["sideMm"]
    row, column = np.indices(shape)
    y = np.floor(state["height"] / 2 + (row + 0.5 - state["v"]) * per_mm * spacing[0]).astype(int)
    x = np.floor(state["width"] / 2 + (column + 0.5 - state["u"]) * per_mm * spacing[1]).astype(int)
    return y, x, (y >= 0) & (x >= 0) & (y < state["height"]) & (x < state["width"])
