"""What the peers' tests share: roads with an archive and a node in them, the real data as DICOM, and the viewer."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archive import FORWARD_EVERYTHING, PLUGIN
from browsing import CHROMIUM, FLAGS, Readers, readers_at
from hearts import Heart, real_heart
from playwright.sync_api import Browser, sync_playwright
from road import Road, running
from viewer import fetch_viewer

from qcnode.demo.phantom_dicom import PhantomStudy, phantom_study

ROOT = Path(__file__).parents[2]
SEED = 7


@pytest.fixture(scope="session")
def orthanc(require_peers: Callable[..., None]) -> None:
    """Orthanc is installed."""
    require_peers("/usr/sbin/Orthanc", str(PLUGIN))


@pytest.fixture(scope="session")
def phantom() -> PhantomStudy:
    """One phase only: that is where a viewer shows every slice under its own number."""
    return phantom_study(SEED, phases=1, phase=0)


@pytest.fixture(scope="session")
def phantom_road(orthanc: None, phantom: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The phantom with a good and a bad query, answered by C-STORE; everything is forwarded, the answers too."""
    folder = tmp_path_factory.mktemp("phantom")
    with running(folder, FORWARD_EVERYTHING, "c-store") as (archive, node):
        road = Road(archive, node, str(phantom.study.study_instance_uid), phantom.images)
        good, bad, *_ = phantom.queries
        road.send(folder / "study", good=good.dataset, bad=bad.dataset)
        yield road


@pytest.fixture(scope="session")
def heart(realdata: Path) -> Heart:
    """A real heart as a cine series."""
    return real_heart(realdata)


@pytest.fixture(scope="session")
def heart_road(orthanc: None, heart: Heart, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """The real heart with the expert's segmentation and a displaced one; `hasty` is sent later, by its test."""
    folder = tmp_path_factory.mktemp("heart")
    with running(folder, FORWARD_EVERYTHING, "c-store") as (archive, node):
        road = Road(archive, node, str(heart.study.study_instance_uid), heart.images)
        road.send(folder / "study", good=heart.good, bad=heart.bad)
        yield road


@pytest.fixture(scope="session")
def viewer_pages(require_peers: Callable[..., None]) -> Path:
    """The viewer's start page."""
    require_peers("npm", "chromium")
    start_page = fetch_viewer(ROOT / "var/cache/ohif")
    require_peers(str(start_page))
    return start_page


@pytest.fixture(scope="module")
def chromium(require_peers: Callable[..., None]) -> Iterator[Browser]:
    """Debian's Chromium, without a screen. One at a time: Playwright can not be started twice."""
    require_peers(CHROMIUM)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def sign_in(chromium: Browser, address: str) -> Iterator[Readers]:
    """`sign_in("meyer")`: the queue at the test's `address`, in a browser window of its own whose complaints fail the test."""
    with readers_at(chromium, address) as readers:
        yield readers
