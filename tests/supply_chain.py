"""What the node is made of besides its own code: known vulnerabilities, licences, and the bill of materials (`make security`, `make sbom`).

    python tests/supply_chain.py audit              # pip-audit over everything installed here, the development tools too
    python tests/supply_chain.py licences FILE      # the runtime dependencies and their licences as Markdown, or what may not be among them
    python tests/supply_chain.py sbom FILE          # the runtime dependencies as CycloneDX JSON

Exit codes: 0 nothing is wrong; 1 something is, and it says what.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import distribution, distributions
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

# Known vulnerabilities that do not reach this program: identifier -> why. Each is looked at again when its package is updated.
ACCEPTED_VULNERABILITIES: Mapping[str, str] = {}

# Terms that an Apache-2.0 program may be shipped with. MPL-2.0 covers its own files alone (certifi: a list of certificates).
ALLOWED_LICENCES = frozenset(
    {
        "0BSD",
        "Apache Software License",
        "Apache License 2.0",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD License",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC License (ISCL)",
        "MIT",
        "MIT License",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "Mozilla Public License 2.0 (MPL 2.0)",
        "PSF-2.0",
        "Python Software Foundation License",
        "Zlib",
    }
)
# GPL-3.0, and what pydicom would use for JPEG where it is there: SimpleITK decodes JPEG in its place.
FORBIDDEN_PACKAGES = frozenset({"pylibjpeg-libjpeg"})


def runtime_packages(dependencies: Iterable[str]) -> frozenset[str]:
    """Canonical names of what these requirements bring along in this environment, their own requirements included.

    Raises PackageNotFoundError where one is not installed.
    """
    extras_of: dict[str, set[str]] = {}
    waiting = [(Requirement(line), frozenset({""})) for line in dependencies]
    while waiting:
        requirement, asked_with = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in asked_with):
            continue
        name, extras = canonicalize_name(requirement.name), {"", *requirement.extras}
        if name in extras_of and extras <= extras_of[name]:
            continue
        known = extras_of.setdefault(name, set())
        known |= extras
        waiting += [(Requirement(line), frozenset(known)) for line in distribution(name).requires or ()]
    return frozenset(extras_of)


def declared() -> list[str]:
    """The runtime dependencies of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def licence_complaints(found: Iterable[Mapping[str, str]]) -> list[str]:
    """Packages (`Name`, `License`, as pip-licenses names them) that may not be shipped with."""
    complaints = []
    for package in found:
        name, licence = package["Name"], package["License"]
        if canonicalize_name(name) in FORBIDDEN_PACKAGES:
            complaints.append(f"{name} may not be a dependency")
        elif not _is_allowed(licence):
            complaints.append(f"{name}: {licence!r} is not on the list of licences")
    return complaints


def _is_allowed(licence: str) -> bool:
    """Every part that applies together is allowed; of alternatives one is."""
    together = [part.strip(" ()") if " OR " in part else part.strip() for part in re.split(r" AND |;", licence)]
    return all(any(choice.strip() in ALLOWED_LICENCES for choice in part.split(" OR ")) for part in together)


def audit_complaints(dependencies: Sequence[Mapping[str, Any]]) -> tuple[list[str], int]:
    """Vulnerabilities that nobody has accepted in what pip-audit says, with packages that it could not look up; and how many it could.

    Where it could look up none, the service was not there: no complaint, and 0.
    """
    audited = [d for d in dependencies if "vulns" in d]
    if not audited:
        return [], 0
    complaints = [f"{d['name']} could not be looked up: {d['skip_reason']}" for d in dependencies if "vulns" not in d]
    for package in audited:
        for vulnerability in package["vulns"]:
            names = {vulnerability["id"], *vulnerability.get("aliases", ())}
            if not names & ACCEPTED_VULNERABILITIES.keys():
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
                complaints.append(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    return complaints, len(audited)


def only(bill: dict[str, Any], packages: frozenset[str]) -> dict[str, Any]:
    """A CycloneDX bill of an environment without the components that are none of `packages`."""
    kept = [c for c in bill["components"] if canonicalize_name(c["name"]) in packages]
    refs = {c["bom-ref"] for c in kept} | {bill["metadata"]["component"]["bom-ref"]}
    edges = [
        edge | ({"dependsOn": [ref for ref in edge["dependsOn"] if ref in refs]} if "dependsOn" in edge else {})
        for edge in bill["dependencies"]
        if edge["ref"] in refs
    ]
    return bill | {"components": kept, "dependencies": edges}


def _audit() -> list[str]:
    # without the local part of a version (2.13.0+cpu), under which nothing is listed
    pinned = {canonicalize_name(d.name): d.version.split("+")[0] for d in distributions()}
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("\n".join(f"{name}=={version}" for name, version in sorted(pinned.items()) if name != "qcnode"))
        requirements.flush()
        command = [BIN / "pip-audit", "--format", "json", "--progress-spinner", "off", "--no-deps", "--disable-pip"]
        ran = subprocess.run([*command, "--requirement", requirements.name], capture_output=True, text=True, check=False, timeout=300)
    try:
        complaints, audited = audit_complaints(json.loads(ran.stdout)["dependencies"])
        reason = "it knows none of the packages"
    except ValueError:
        complaints, audited, reason = [], 0, (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
    if audited:
        _say(f"pip-audit: {audited} packages looked up, {len(complaints)} complaints")
    else:
        _say(f"WARNING: NOTHING WAS AUDITED. The service of known vulnerabilities could not be asked from here: {reason}")
    return complaints


def _licences(target: Path) -> list[str]:
    command = [BIN / "pip-licenses", "--with-system", "--packages", *sorted(runtime_packages(declared()))]
    found = json.loads(subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=True).stdout)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(subprocess.run([*command, "--format", "markdown", "--with-urls"], capture_output=True, text=True, check=True).stdout)
    _say(f"licences: {len(found)} runtime dependencies in {target}")
    return licence_complaints(found)


def _sbom(target: Path) -> list[str]:
    command = [
        BIN / "cyclonedx-py",
        "environment",
        "--no-validate",
        "--pyproject",
        ROOT / "pyproject.toml",
        "--output-reproducible",
        sys.executable,
    ]
    made = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)  # validated below, once
    bill = only(made, runtime_packages(declared()))
    text = json.dumps(bill, indent=2)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n")
    wrong = JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(text)
    _say(f"SBOM: CycloneDX {bill['specVersion']}, {len(bill['components'])} components in {target}")
    return [] if wrong is None else [f"{target} is no CycloneDX document: {wrong}"]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main(words: Sequence[str]) -> int:
    """Run one of the commands; the exit code."""
    match list(words):
        case ["audit"]:
            complaints = _audit()
        case ["licences", target]:
            complaints = _licences(Path(target))
        case ["sbom", target]:
            complaints = _sbom(Path(target))
        case _:
            complaints = [str(__doc__)]
    for complaint in complaints:
        sys.stderr.write(f"{complaint}\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
