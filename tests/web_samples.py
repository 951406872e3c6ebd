"""What the tests of the web share: a worklist with pictures, readers, a clock that they move, and browsers that are signed in."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from store_samples import at, put_item

from qcnode.case import Verdict
from qcnode.config import ReviewSettings, Web
from qcnode.outcome import Outcome, Predicted, Query, TissueNumbers, write_outcome
from qcnode.review import Review
from qcnode.store.accounts import Accounts, Role
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.items import Item
from qcnode.store.outbox import Outbox
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.thumbnail_files import ThumbnailFiles
from qcnode.store.worklist import Worklist
from qcnode.web.app import create_app
from qcnode.web.context import WebContext
from qcnode.web.passwords import Passwords

PASSWORD = "phantom-reader"
READERS = {"meyer": Role.READER, "okafor": Role.READER, "lund": Role.SUPERVISOR, "root": Role.ADMIN}
QUICK = Passwords(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
SIZE = (3, 8, 10)


@dataclass
class Clock:
    """The time, which only a test moves."""

    now: datetime = field(default_factory=lambda: at(3600))

    def __call__(self) -> datetime:
        return self.now

    def move(self, **length: float) -> None:
        self.now += timedelta(**length)


@dataclass
class Site:
    """A node's web as a test sees it."""

    database: Database
    context: WebContext
    clock: Clock
    app: FastAPI

    @property
    def review(self) -> Review:
        return self.context.review

    def put(
        self, case_id: str, verdict: Verdict = Verdict.FAIL, predicted_dsc: float | None = 0.4, *, pictures: bool = True, **changes: object
    ) -> Item:
        """One more item; `changes` are of its CaseResult."""
        if pictures:
            write_pictures(self.database.directory / "results" / case_id, predicted_dsc)
        return put_item(self.database, case_id, verdict, predicted_dsc, **changes)

    def browser(self, name: str | None = None) -> Browser:
        """A browser, in which `name` is signed in."""
        browser = Browser(self.app)
        if name is not None:
            browser.sign_in(name)
        return browser


class Browser(TestClient):
    """Keeps cookies, follows no redirects, and knows the token of the last page."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(app, headers={"Accept": "text/html"}, follow_redirects=False, client=("192.0.2.1", 4000))
        self.csrf = ""

    def sign_in(self, name: str, password: str = PASSWORD) -> int:
        """The status of the answer: 303 where the session is open."""
        page = self.get("/sign-in").text
        token = re.search(r'name="csrf" value="(\w+)"', page)
        assert token
        status = self.post("/sign-in", data={"name": name, "password": password, "csrf": token[1]}).status_code
        if status == 303:
            found = re.search(r'<meta name="csrf" content="(\w+)">', self.get("/").text)
            assert found
            self.csrf = found[1]
        return status

    def submit(self, address: str, **fields: object) -> int:
        """Send a form of ours; the status of the answer."""
        return self.post(address, data={"csrf": self.csrf, **fields}).status_code

    def call(self, path: str, content: object = None, **options: object) -> tuple[int, dict[str, object]]:
        """Call the API with the token; status and content."""
        answer = self.request(
            str(options.get("method", "POST")),
            f"/api/v1{path}",
            json=content,
            headers={"X-CSRF-Token": self.csrf, "Accept": "*/*"},
        )
        return answer.status_code, answer.json() if answer.content else {}


def open_site(directory: Path, clock: Clock | None = None, **settings: object) -> Site:
    """An empty worklist with four readers."""
    database = open_database(directory)
    clock = clock or Clock()
    web = Web.model_validate(settings)
    accounts = Accounts(database, idle=timedelta(minutes=web.session_idle_minutes), longest=timedelta(hours=web.session_hours))
    for name, role in READERS.items():
        accounts.add(name, QUICK.hash(PASSWORD), role, by="test", now=clock())
    context = WebContext(
        settings=web,
        review=Review(Worklist(database), ReviewSettings()),
        accounts=accounts,
        audit=Audit(database),
        outbox=Outbox(database),
        rejected_callers=RejectedCallers(database),
        thresholds={"cardiac-sax": 0.75},
        thumbnails=ThumbnailFiles(directory),
        now=clock,
        version="0",
        passwords=QUICK,
    )
    return Site(database, context, clock, create_app(context))


def write_pictures(directory: Path, predicted_dsc: float | None = 0.4) -> None:
    """A result directory with viewer/, preview.png and verdict.json: one tissue, one contrast, errors in slice 2."""
    folder = directory / "viewer"
    folder.mkdir(parents=True)
    errors, query = np.zeros((2, *SIZE), np.uint8)
    query[1:, 2:6, 3:7] = 1
    errors[2, 2:4, 3:7] = 1
    grey = np.arange(np.prod(SIZE), dtype=np.uint8).reshape(SIZE)
    plane = {"name": "axial", "axis": 0, "down": {"axis": 1, "flip": False}, "right": {"axis": 2, "flip": False}}
    plane |= {"edges": dict.fromkeys(("left", "right", "top", "bottom"), "R"), "positions_mm": [0, 8, 16], "query_area_mm2": [0, 16, 16]}
    focus = {"down": 3.5, "right": 4.5, "side_mm": 8.0}
    description = {
        "schema_version": 1,
        "size": list(SIZE),
        "spacing_mm": [8.0, 1.0, 1.0],
        "first_slice": 1,
        "planes": [
            plane
            | {
                "edges": dict.fromkeys(("left", "right", "top", "bottom"), "R"),
                "positions_mm": [0, 8, 16],
                "query_area_mm2": [0, 16, 16],
                "focus": focus,
            }
        ],
        "contrasts": [
            {"name": "cine", "window": [0, 255], "offset": 0.0, "scale": 1.0, "range": [0, 255]}
            | _write([np.stack([p, np.zeros_like(p)]) for p in grey], folder / "contrast-1.bin")
        ],
        "tissues": [{"name": "heart", "colour": "#56b4e9", "error_colour": "#d55e00"}],
        "query": _write(list(query), folder / "query.bin"),
        "prediction": {
            "worst_slice": 2,
            "regions": [_region(1, 2, 8), _region(2, 1, 5)],
            "planes": [{"error_voxels": [[0, 0, 8]], "error_area_mm2": [0, 0, 8], "focus": focus}],
            **_write(list(errors), folder / "errors.bin"),
        },
    }
    (folder / "viewer.json").write_text(json.dumps(description))
    (directory / "preview.png").write_bytes(b"")
    numbers = Predicted(predicted_dsc or 0.5, 0.5, 2.0, {"heart": TissueNumbers(predicted_dsc, 1000)})
    outcome = Outcome(
        directory.name, "2.25.1", Query("2.25.8", "2.25.9"), "cardiac-sax", None, None, numbers, Verdict.FAIL, (), "directory"
    )
    write_outcome(outcome, directory)


def _region(number: int, z: int, voxels: int) -> dict[str, object]:
    of_slices = {"first_slice": z, "last_slice": z, "worst_slice": z}
    return {"number": number, "tissue": "heart", "voxels": voxels, "volume_ml": voxels / 125, "centre_mm": [4, 3, 8 * z]} | of_slices


def _write(slices: list[np.ndarray], path: Path) -> dict[str, object]:
    packed = [zlib.compress(s.tobytes()) for s in slices]
    path.write_bytes(b"".join(packed))
    return {"file": path.name, "starts": [0, *np.cumsum([len(p) for p in packed]).tolist()]}
