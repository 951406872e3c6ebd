"""A reader before headless Chromium, signed in to the worklist."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, expect
from viewer import CHROMIUM_FLAGS
from web_samples import PASSWORD

CHROMIUM = "/usr/bin/chromium"
# our pages need no GL, and without its emulation a frame takes a fraction of the time
FLAGS = ("--disable-gpu", *(flag for flag in CHROMIUM_FLAGS if "swiftshader" not in flag))
SIZES = ((1440, 900), (1024, 768))
PATIENCE_MS = 20_000
SCREENSHOTS = Path(__file__).parents[2] / "var/screenshots"


class Readers:
    """Readers with a browser window each; `complaints` holds uncaught errors of their pages and breaches of the content policy."""

    def __init__(self, chromium: Browser, address: str) -> None:
        self.complaints: list[str] = []
        self._chromium = chromium
        self._address = address
        self._contexts: list[BrowserContext] = []

    def __call__(self, name: str, width: int = 1440, height: int = 900) -> Page:
        """The queue, where `name` is signed in."""
        context = self._chromium.new_context(viewport={"width": width, "height": height})
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self.complaints.append(said.text) if "Content Security Policy" in said.text else None)
        page.goto(f"{self._address}/")
        page.fill("#name", name)
        page.fill("#password", PASSWORD)
        page.keyboard.press("Enter")
        expect(page.locator("#items")).to_be_visible(timeout=PATIENCE_MS)
        return page

    def leave(self) -> None:
        """Close every window."""
        for context in self._contexts:
            context.close()


@contextmanager
def readers_at(chromium: Browser, address: str) -> Iterator[Readers]:
    """Readers whose pages must not complain while the `with` lasts."""
    readers = Readers(chromium, address)
    try:
        yield readers
    finally:
        readers.leave()
    assert readers.complaints == []
