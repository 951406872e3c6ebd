"""The real OHIF viewer on loopback, before an archive's DICOMweb, and headless Chromium that looks at it.

The viewer asks for cross-origin isolation (shared memory of its workers) and for DICOMweb of the same origin, so one server gives it both:
its own files, and the archive's answers passed on.
"""

import json
import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

PACKAGE = "@ohif/app@3.12.10"
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
_WEB = "/dicom-web"
_SOURCE = {
    "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
    "sourceName": "dicomweb",
    "configuration": {
        "friendlyName": "archive",
        "name": "archive",
        "wadoUriRoot": _WEB,
        "qidoRoot": _WEB,
        "wadoRoot": _WEB,
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
    },
}
_SETTINGS = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "customizationService": {},
    "showStudyList": True,
    "maxNumberOfWebWorkers": 1,
    "showWarningMessageForCrossOrigin": False,
    "showCPUFallbackMessage": False,
    "showLoadingIndicator": True,
    "showErrorDetails": "always",
    "strictZSpacingForVolumeViewport": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "dicomweb",
    "dataSources": [_SOURCE],
}


def fetch_viewer(cache: Path) -> Path:
    """The viewer's built pages, from the cache or by `npm pack`; the path of its start page, which is missing where npm found nothing."""
    start_page = cache / PACKAGE.rsplit("@", 1)[-1] / "package/dist/index.html"
    if start_page.exists():
        return start_page
    unpacked = start_page.parents[1].parent
    unfinished = unpacked.with_name(unpacked.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    said = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=unfinished, capture_output=True, text=True, timeout=240)
    for archive in unfinished.glob("*.tgz"):
        with tarfile.open(archive) as content:
            content.extractall(unfinished, filter="data")
        archive.unlink()
    if said.returncode == 0:
        unfinished.rename(unpacked)
    return start_page


class Viewer:
    """Serves the viewer while the `with` lasts; `url(study)` is the address of a study's page."""

    def __init__(self, start_page: Path, dicomweb_url: str) -> None:
        served = type("Served", (_Pages,), {"folder": start_page.parent, "dicomweb_url": dicomweb_url})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), served)
        self._http.daemon_threads = True
        self._thread = Thread(target=self._http.serve_forever, daemon=True)

    def url(self, study_instance_uid: str, series_instance_uid: str = "") -> str:
        """The page of a study, or of one series of it alone."""
        only = f"&SeriesInstanceUIDs={series_instance_uid}" if series_instance_uid else ""
        return f"http://127.0.0.1:{self._http.server_port}/viewer?StudyInstanceUIDs={study_instance_uid}{only}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Pages(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path
    dicomweb_url: str

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments, directory=str(self.folder))

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        self.send_header("Cache-Control", "no-store" if self.path.startswith(_WEB) else "max-age=600")
        super().end_headers()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith(_WEB):
            self._pass_on()
        elif path == "/app-config.js":
            self._answer(200, "text/javascript", f"window.config = {json.dumps(_SETTINGS)};".encode())
        elif (self.folder / path.lstrip("/")).is_file():
            super().do_GET()
        else:
            self._answer(200, "text/html", (self.folder / "index.html").read_bytes())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _pass_on(self) -> None:
        request = urllib.request.Request(self.dicomweb_url + self.path[len(_WEB) :], headers={"Accept": self.headers.get("Accept", "*/*")})
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                self._answer(reply.status, reply.headers.get("Content-Type", ""), reply.read())
        except urllib.error.HTTPError as error:
            self._answer(error.code, "text/plain", error.read())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
