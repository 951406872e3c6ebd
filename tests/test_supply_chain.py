"""What is shipped with the program: only licences that allow it, and a bill of materials of what runs; a vulnerability is a failure."""

import re
import tomllib
from pathlib import Path

import pytest
import supply_chain
from supply_chain import audit_complaints, declared, licence_complaints, only, runtime_packages

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "licence",
    [
        "MIT",
        "Apache-2.0 OR BSD-2-Clause",
        "GPL-3.0-only OR MIT",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
        "MIT License; Mozilla Public License 2.0 (MPL 2.0)",
    ],
)
def test_licences_that_may_be_shipped(licence: str) -> None:
    assert licence_complaints([{"Name": "a", "License": licence}]) == []


@pytest.mark.parametrize(
    "licence",
    ["GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT; GNU Affero General Public License v3", "LGPL-2.1-or-later", "UNKNOWN", ""],
)
def test_licences_that_may_not(licence: str) -> None:
    (complaint,) = licence_complaints([{"Name": "a", "License": licence}])
    assert complaint.startswith("a: ")


def test_the_decoder_under_the_gpl_is_refused_whatever_it_says() -> None:
    (complaint,) = licence_complaints([{"Name": "pylibjpeg_libjpeg", "License": "MIT"}])
    assert "may not" in complaint


def test_runtime_packages_are_the_dependencies_and_theirs_and_no_tools() -> None:
    packages = runtime_packages(declared())
    assert {"torch", "pydicom", "sqlalchemy", "fastapi", "starlette", "numpy"} <= packages
    assert not {"pytest", "ruff", "mypy", "bandit", "playwright", "schemathesis", "nibabel"} & packages
    assert not supply_chain.FORBIDDEN_PACKAGES & packages


def test_the_image_installs_what_is_listed() -> None:
    """docker/Dockerfile installs torch and the project itself, so that the bill of materials is the image's."""
    installed = re.findall(r"pip install .*", (ROOT / "docker/Dockerfile").read_text())
    assert installed
    assert not any("[dev" in line or "[training" in line for line in installed)


VULNERABLE = {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}]}
SOUND = {"name": "b", "version": "1", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_a_vulnerability_is_a_complaint_unless_it_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_complaints([VULNERABLE, SOUND]) == (["a 1: PYSEC-1, fixed in 2"], 2)
    monkeypatch.setattr(supply_chain, "ACCEPTED_VULNERABILITIES", {"CVE-1": "does not reach us"})
    assert audit_complaints([VULNERABLE, SOUND]) == ([], 2)


def test_what_alone_can_not_be_looked_up_is_a_complaint_and_a_service_that_is_away_is_none() -> None:
    assert audit_complaints([SOUND, UNKNOWN]) == (["c could not be looked up: not found"], 1)
    assert audit_complaints([UNKNOWN]) == ([], 0)


def test_a_bill_of_materials_keeps_what_runs() -> None:
    root = {"bom-ref": "root", "name": "qcnode"}
    bill = {
        "metadata": {"component": root},
        "components": [{"bom-ref": "A==1", "name": "A_b"}, {"bom-ref": "pytest==9", "name": "pytest"}],
        "dependencies": [{"ref": "root", "dependsOn": ["A==1", "pytest==9"]}, {"ref": "A==1"}, {"ref": "pytest==9", "dependsOn": ["A==1"]}],
    }
    kept = only(bill, frozenset({"a-b"}))
    assert [c["name"] for c in kept["components"]] == ["A_b"]
    assert kept["dependencies"] == [{"ref": "root", "dependsOn": ["A==1"]}, {"ref": "A==1"}]


def test_every_exclusion_of_bandit_says_which_rule_and_why() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["bandit"]
    assert set(settings) == {"exclude_dirs"}, "no rule is switched off as a whole"
    excluded = [
        (path.name, line.strip())
        for package in ("qcnode", "training")
        for path in (ROOT / package).rglob("*.py")
        for line in path.read_text().splitlines()
        if "nosec" in line
    ]
    assert excluded
    assert [e for e in excluded if not re.search(r"# nosec B\d{3}  # \w", e[1])] == []
