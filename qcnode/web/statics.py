"""Style sheets and scripts. A page names them with the digest of their content, so that browsers keep them and never show an old one."""

from __future__ import annotations

from collections.abc import Mapping
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
def digests() -> Mapping[str, str]:
    """File name -> the digest of its content; the files of an installed program do not change while it runs."""
    return {path.name: sha256(path.read_bytes()).hexdigest()[:16] for path in FOLDER.iterdir() if path.suffix in _TYPES}


def address_of(name: str) -> str:
    """The address of a static file in a page. Raises KeyError when there is none of this name."""
    return f"/static/{name}?v={digests()[name]}"


@router.get("/static/{name}")
def static_file(name: str, request: Request, v: str = "") -> FileResponse:
    """One file; a module that another one imports comes without digest and is asked for again each time (304 when it is the same)."""
    if name not in OPEN_TO_ALL and principal_of(request, is_action=False) is None:
        raise SignInNeeded
    if name not in digests():
        raise HTTPException(404)
    caching = "public, max-age=31536000, immutable" if v == digests()[name] else "no-cache"
    return FileResponse(FOLDER / name, media_type=_TYPES[Path(name).suffix], headers={"Cache-Control": caching})
