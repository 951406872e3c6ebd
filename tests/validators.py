"""What other people's validators say of a DICOM file: dciodvfy (dicom3tools), dsrdump (DCMTK), DicomSRValidator (PixelMed).

A test that calls `problems` first says `require_peers(*PROGRAMS)`.
"""

import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom

PROGRAMS = ("dciodvfy", "dsrdump", "java", "/usr/share/java/pixelmed.jar")

_TEMPLATED = ("Enhanced SR", "Comprehensive")
# Without these the JDK refuses the size of PixelMed's template rules.
_XPATH = [f"-Djdk.xml.xpath{limit}=0" for limit in ("ExprOpLimit", "TotalOpLimit", "ExprGrpLimit")]


def problems(path: Path) -> list[str]:
    """Every error that a validator finds in the file; empty where it is right."""
    found = dciodvfy_errors(path)
    sop_class = pydicom.dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID.name
    if "SR Storage" in sop_class or "Key Object" in sop_class:
        found += dsrdump_errors(path)
    if any(name in sop_class for name in _TEMPLATED) and "SR Storage" in sop_class:
        found += template_errors(path)
    return found


def problems_of_all(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Every error by file name, without the files that are right. PixelMed's needs seven seconds a report, so two run at a time."""
    files = list(paths)
    with ThreadPoolExecutor(2) as pool:
        return {path.name: found for path, found in zip(files, pool.map(problems, files), strict=True) if found}


def dciodvfy_errors(path: Path) -> list[str]:
    """Errors against the information object definition (PS3.3)."""
    return _errors_of("dciodvfy", "-new", str(path))


def dsrdump_errors(path: Path) -> list[str]:
    """What keeps DCMTK from reading the document's tree."""
    ran = subprocess.run(["dsrdump", str(path)], capture_output=True, check=False)
    return [] if ran.returncode == 0 else [f"dsrdump: {ran.stderr.decode(errors='replace').strip()}"]


def template_errors(path: Path) -> list[str]:
    """Errors against the templates and context groups of PS3.16."""
    jars = ":".join(str(jar) for jar in sorted(Path("/usr/share/java").glob("*.jar")))
    java = ["java", "-Djava.awt.headless=true", "-Xmx1g", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *_XPATH, "-cp", jars]
    lines = _output_of(*java, "com.pixelmed.validate.DicomSRValidator", str(path))
    if not lines:
        return ["DicomSRValidator said nothing at all"]
    return [line for line in lines if line.startswith("Error") or line.startswith("Exception")]


def _errors_of(*command: str) -> list[str]:
    return [line for line in _output_of(*command) if line.startswith("Error")]


def _output_of(*command: str) -> list[str]:
    ran = subprocess.run(command, capture_output=True, check=False, timeout=240)
    return (ran.stdout + ran.stderr).decode(errors="replace").splitlines()
