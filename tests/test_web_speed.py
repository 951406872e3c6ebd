"""The queue page with 10,000 items and a case's first image. Figures are printed (`-s`); the bounds are loose: machines differ."""

import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from report_cases import build
from test_item_queries import insert_item
from web_samples import Browser, Site, open_site

from qcnode.demo.phantom import bad_query_shifted, make_phantom
from qcnode.report.viewer import write_viewer
from qcnode.web.server import WebServer

WANTED_MS = 50
ASSERTED_MS = 500
FIRST_IMAGE_MS = 300
CASES = 15


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    site = open_site(tmp_path_factory.mktemp("many"))
    with site.database.begin() as connection:
        for number in range(10_000):
            insert_item(connection, number)
    return site.browser("meyer")


@pytest.mark.parametrize("address", ["/", "/?page=150", "/?verdict=FAIL&order=newest", "/?state=all&order=oldest"])
def test_the_queue_page_with_ten_thousand_items(reader: Browser, address: str) -> None:
    times = []
    for _ in range(15):
        began = time.perf_counter()
        page = reader.get(address)
        times.append(1000 * (time.perf_counter() - began))
        assert page.status_code == 200
    assert page.text.count("<tr data-item=") == 50
    median = statistics.median(times)
    sys.stdout.write(f"\nqueue page {address}: median {median:.1f} ms, fastest {min(times):.1f} ms (wanted: {WANTED_MS} ms)\n")
    assert min(times) < ASSERTED_MS


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A reader's connection to a served worklist of cases as large as the demonstration's."""
    site = open_site(tmp_path_factory.mktemp("cases"))
    for number in range(CASES):
        put_phantom(site, number)
    token = site.context.accounts.open_session("meyer", site.clock())
    server = WebServer(site.app, "127.0.0.1", 0)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", cookies={"qcnode": token}) as client:
        yield client
    server.stop()


def put_phantom(site: Site, seed: int) -> None:
    phantom = make_phantom(seed)
    drawn, inputs = bad_query_shifted(phantom), build()
    prediction = replace(inputs.assessment.prediction, error_map=drawn ^ phantom.reference)
    folder: Path = site.database.directory / "results" / f"case-{seed}"
    folder.mkdir(parents=True)
    assessment = replace(inputs.assessment, prediction=prediction)
    write_viewer(replace(inputs, volume=phantom.volume, query_masks=drawn, assessment=assessment), folder)
    site.put(f"case-{seed}", pictures=False)


def test_the_first_image_of_a_case(cases: httpx.Client) -> None:
    """From the request for viewer.json to the last byte of the slice shown first; each case is opened for the first time."""
    times = []
    for number in range(1, CASES + 1):
        began = time.perf_counter()
        description = cases.get(f"/cases/{number}/viewer/viewer.json").raise_for_status().json()
        contrast, first = description["contrasts"][0], description["prediction"]["worst_slice"]
        start, end = contrast["starts"][first : first + 2]
        answer = cases.get(f"/cases/{number}/viewer/{contrast['file']}", headers={"Range": f"bytes={start}-{end - 1}"})
        times.append(1000 * (time.perf_counter() - began))
        assert (answer.status_code, len(answer.content)) == (206, end - start)
    median = statistics.median(times)
    sys.stdout.write(f"\nfirst image of a case: median {median:.1f} ms, slowest {max(times):.1f} ms (wanted: {FIRST_IMAGE_MS} ms)\n")
    assert min(times) < ASSERTED_MS
