"""What a person sees of a study in the viewer: open a series, leaf through it, and take the colours that are drawn on it."""

import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Page, TimeoutError
from scipy import ndimage

OPENED_MS = 40_000
# Software GL draws a frame in a fraction of a second; a frame that was not redrawn is asked for again.
DRAWN_MS = 500

# The tour for first-time users would lie over the pages.
_NO_TOUR = """localStorage.setItem('shownTours', '["basicViewerTour"]')"""

Colours = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.bool_]


@dataclass
class Look:
    """A page with one study open. `page_errors`: uncaught exceptions of the page; `console_errors`: what else it complains of."""

    page: Page
    screenshots: Path
    page_errors: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)

    def open_study(self, url: str) -> None:
        self.page.on("pageerror", lambda error: self.page_errors.append(str(error)))
        self.page.on("console", lambda message: self.console_errors.append(message.text) if message.type == "error" else None)
        self.page.add_init_script(_NO_TOUR)
        self.page.goto(url)
        self.page.locator('[data-cy="study-browser-thumbnail"]').first.wait_for(timeout=OPENED_MS)

    def open_series(self, description: str) -> None:
        self.page.get_by_text(description, exact=True).first.dblclick()

    def open_picture(self, description: str) -> None:
        """Open a series of one picture and wait until the viewport shows something else than before."""
        before = self.wait_for_picture()
        self.open_series(description)
        for _ in range(OPENED_MS // DRAWN_MS):
            self.page.wait_for_timeout(DRAWN_MS)
            if np.mean(self.viewport() != before) > 0.2:
                break
        self.page.wait_for_timeout(4 * DRAWN_MS)

    def wait_for_picture(self) -> Colours:
        """The viewport once it shows a picture that does not change any more: a series of many images loads for a while."""
        before = self.viewport()
        for _ in range(OPENED_MS // DRAWN_MS):
            self.page.wait_for_timeout(4 * DRAWN_MS)
            now = self.viewport()
            if now.std() > 10 and np.array_equal(now, before):
                break
            before = now
        return before

    def open_segmentation(self, description: str) -> None:
        """Open a SEG and answer its question "Do you want to open this Segmentation?" with yes."""
        yes = self.page.locator('[data-cy="yes-hydrate-btn"]')
        for _ in range(3):  # a double click on a page that is still busy may be lost
            self.open_series(description)
            with contextlib.suppress(TimeoutError):
                yes.wait_for(timeout=OPENED_MS)
                break
        self.page.wait_for_timeout(DRAWN_MS)
        yes.click()
        yes.wait_for(state="hidden", timeout=OPENED_MS)
        self.page.wait_for_timeout(4 * DRAWN_MS)
        self.page.locator("[data-sonner-toast]").first.wait_for(state="hidden", timeout=OPENED_MS)  # messages lie over the viewport

    def instance_number(self) -> int:
        """Instance Number of the slice that is shown, from the corner of the viewport: "I: 19 (6/12)"."""
        text = self.page.locator('[data-cy="viewport-overlay-bottom-right"]').first.inner_text(timeout=OPENED_MS)
        shown = re.search(r"I:\s*(\d+)", text)
        assert shown, f"the viewport says no instance number: {text!r}"
        return int(shown[1])

    def next_slice(self, backwards: bool = False) -> None:
        self.page.keyboard.press("ArrowUp" if backwards else "ArrowDown")
        self.page.wait_for_timeout(DRAWN_MS)

    def middle_phase(self) -> None:
        """The middle of the player that the viewer lays over a series of several phases."""
        self.page.locator('span[data-orientation="horizontal"]', has=self.page.get_by_role("slider")).first.click()
        self.page.get_by_text(re.compile("^2$")).first.wait_for(timeout=OPENED_MS)
        self.page.wait_for_timeout(4 * DRAWN_MS)

    def viewport(self) -> Colours:
        """What the viewport shows: (y, x, red green blue)."""
        picture = self.page.locator('[data-cy="viewport-pane"]').first.screenshot()
        return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))

    def keep(self, name: str) -> Path:
        """A screenshot of the whole page in the folder of screenshots."""
        self.screenshots.mkdir(parents=True, exist_ok=True)
        path = self.screenshots / f"{name}.png"
        self.page.screenshot(path=path)
        return path


def coloured(viewport: Colours) -> Plane:
    """Where the viewport is coloured, on a grey picture: what was drawn on it. The viewer's own signs at the edges are left out."""
    span = viewport.max(axis=2).astype(int) - viewport.min(axis=2)
    drawn = span > 40
    height, width = drawn.shape
    drawn[: height // 6] = drawn[-height // 10 :] = False
    drawn[:, : width // 20] = drawn[:, -width // 20 :] = False
    return np.asarray(drawn)


def on_screen(plane: npt.NDArray[np.generic], viewport: Colours) -> npt.NDArray[np.float64]:
    """A plane (y, x) of square pixels as the viewer fits it into the viewport: in the middle, as large as it can be; 0 around it."""
    height, width = viewport.shape[:2]
    rows, columns = plane.shape
    scale = min(height / rows, width / columns)
    y, x = np.indices((height, width), dtype=float)
    at = [(y + 0.5 - height / 2) / scale + rows / 2 - 0.5, (x + 0.5 - width / 2) / scale + columns / 2 - 0.5]
    return np.asarray(ndimage.map_coordinates(plane.astype(float), at, order=1, mode="constant"))


def recognise(viewport: Colours, planes: Sequence[npt.NDArray[np.generic]]) -> int:
    """Which of some planes the viewport shows: the one whose picture is most like what is seen."""
    grey = viewport.mean(axis=2).ravel()
    likeness = [np.corrcoef(on_screen(plane, viewport).ravel(), grey)[0, 1] for plane in planes]
    assert max(likeness) > 0.7, "the viewport shows none of the planes"
    return int(np.argmax(likeness))


def within(seen: Plane, expected: Plane) -> float:
    """The share of what is seen that should be seen; 0 where nothing is seen."""
    return int((seen & expected).sum()) / max(int(seen.sum()), 1)


def agreement(seen: Plane, expected: Plane) -> float:
    """DSC of what is seen and what should be; 1 where both are empty."""
    total = int(seen.sum() + expected.sum())
    return 1.0 if total == 0 else 2.0 * int((seen & expected).sum()) / total
