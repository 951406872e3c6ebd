"""Style sheets and scripts. Their addresses hold a digest of all of them, so that browsers keep them and never show an old one.

The digest is a folder of the address: a script that imports another one by its relative name finds it in the same folder, kept as well.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from qcnode.web.auth import SignInNeeded, principal_of

FOLDER = Path(__file__).parent / "static"
OPEN_TO_ALL = frozenset({"app.css", "icon.svg"})
"""What the sign-in page needs."""
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@cache
def names() -> frozenset[str]:
    """The files that are served; those of an installed program do not change while it runs."""
    return frozenset(path.name for path in FOLDER.iterdir() if path.suffix in _TYPES)


@cache
def digest() -> str:
    """A digest of the names and contents of all files."""
    return sha256(b"".join(name.encode() + (FOLDER / name).read_bytes() for name in sorted(names()))).hexdigest()[:16]


def address_of(name: str) -> str:
    """The address of a static file in a page. Raises KeyError when there is none of this name."""
    if name not in names():
        raise KeyError(name)
    return f"/static/{digest()}/{name}"


def viewer_modules() -> list[str]:
    """The addresses of the scripts that the case viewer is made of, so that a page can ask for all at once."""
    return [address_of(name) for name in sorted(names()) if name.startswith("viewer") and name.endswith(".js")]


@router.get("/static/{name}")
@router.get("/static/{version}/{name}")
def static_file(name: str, request: Request, version: str = "") -> FileResponse:
    """One file. Under an address without the digest, or with an old one, it is asked for again each time (304 when it is the same)."""
    if name not in OPEN_TO_ALL and principal_of(request, is_action=False) is None:
        raise SignInNeeded
    if name not in names():
        raise HTTPException(404)
    caching = "public, max-age=31536000, immutable" if version == digest() else "no-cache"
    return FileResponse(FOLDER / name, media_type=_TYPES[Path(name).suffix], headers={"Cache-Control": caching})
