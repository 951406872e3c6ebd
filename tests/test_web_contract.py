"""schemathesis asks the served API what its description allows, and much that it does not: no answer may be a 5xx or undescribed.

QCNODE_CONTRACT_EXAMPLES: how many requests are made up for each call; `make contract` asks for many.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from web_samples import Site, open_site

from qcnode.case import Verdict
from qcnode.store.accounts import Accounts
from qcnode.web.auth import CSRF_HEADER, token_for
from qcnode.web.server import WebServer

EXAMPLES = os.environ.get("QCNODE_CONTRACT_EXAMPLES", "4")
LONGEST_SECONDS = 240 + 60 * int(EXAMPLES)
PROGRAM = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
OPTIONS = {
    "--max-examples": EXAMPLES,
    "--phases": "coverage,fuzzing,stateful",
    "--seed": "4",
    "--generation-database": "none",
    "--warnings": "off",
    "--request-timeout": "60",  # a busy machine is no failure
    # which reasons and readers there are is for the site to say, not for the description: a 422 for others is right
    "--exclude-checks": "positive_data_acceptance",
    # cookie and token are given below; what the calls do without them is in test_web_auth
    "--generation-with-security-parameters": "false",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = open_site(tmp_path)
    for number in range(1, 6):
        made.put(str(number), Verdict.FAIL if number % 2 else Verdict.REVIEW, number / 10, patient_name="DOE^JANE")
    made.put("6", Verdict.PASS, 0.9, blind=True)
    made.app.state.ending.set()  # a stream of events ends after what it has to tell
    monkeypatch.setattr(Accounts, "close_session", lambda *_: None)  # one of the calls signs out, and the others go on
    return made


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    server = WebServer(site.app, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.mark.timeout(LONGEST_SECONDS + 60)
def test_every_answer_is_described_and_none_is_a_5xx(site: Site, address: str, tmp_path: Path) -> None:
    token = site.context.accounts.open_session("root", site.clock())
    headers = {"Cookie": f"qcnode={token}", CSRF_HEADER: token_for(token, "csrf")}
    options = [part for pair in OPTIONS.items() for part in pair]
    options += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    description = tmp_path / "openapi.json"
    description.write_bytes(site.browser("root").get("/api/v1/openapi.json").content)
    command = [sys.executable, "-c", PROGRAM, "run", str(description), "--url", address, "--no-color", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONGEST_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Operations:       {len(described_calls(site))} selected" in done.stdout


def described_calls(site: Site) -> list[tuple[str, str]]:
    return [(method, path) for path, methods in site.app.openapi()["paths"].items() for method in methods]
