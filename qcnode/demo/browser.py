"""The browser of who sits before this machine."""

from __future__ import annotations

import os
import sys
import webbrowser

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")


def open_in_browser(address: str) -> bool:
    """Open an address in the default browser; False where there is none, or no screen: a browser for terminals would take this one."""
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in _SCREENS):
        return False
    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False
