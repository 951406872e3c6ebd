"""Imports run downward only, and each library has its one place (the rules of docs/architecture.md)."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Which layers of qcnode each layer may import; its own package is always allowed.
BOTTOM = {
    "case",
    "commitment",
    "digests",
    "durable",
    "errors",
    "headers",
    "log_fields",
    "outcome",
    "regions",
    "rejection",
    "sampling",
    "tissues",
    "uids",
}
ROAD = BOTTOM | {
    "assess",
    "clock",
    "config",
    "deliver",
    "imaging.pixels",
    "ingest",
    "notify",
    "observe",
    "pipeline",
    "report.inputs",
    "store",
    "tasks",
    "tls",
}
ALLOWED = {
    "": set(),
    "case": set(),
    "commitment": {"headers"},
    "errors": {"case"},
    "tissues": {"case"},
    "headers": {"case", "errors"},
    "outcome": {"case", "regions"},
    "regions": set(),
    "rejection": set(),
    "uids": set(),
    "log_fields": set(),
    "digests": set(),
    "durable": set(),
    "sampling": {"case", "outcome"},
    "clock": set(),
    "config": {"case", "errors"},
    "tls": {"config", "errors"},
    "dicom_listener": BOTTOM | {"clock", "config", "tls"},
    "ingest": BOTTOM | {"config", "dicom_listener", "store.inbox", "store.backlog"},
    "imaging": BOTTOM,
    "assess": BOTTOM | {"imaging"},
    "report": BOTTOM | {"imaging"},
    "deliver": BOTTOM | {"config", "tls"},
    "drift": set(),
    "store": BOTTOM | {"drift"},
    "observe": BOTTOM | {"config", "store"},
    "pipeline": BOTTOM | {"imaging", "assess", "report"},
    "tasks": BOTTOM | {"config", "assess", "ingest"},
    "judging": ROAD,
    "review": BOTTOM | {"config", "store", "drift"},
    "decisions": BOTTOM | {"config", "report", "store"},
    "cohort.format": BOTTOM,
    "cohort": BOTTOM | {"store"},
    "ups": BOTTOM | {"config", "dicom_listener", "report", "store", "review"},
    "notify": BOTTOM | {"config", "store", "deliver.destination", "review", "drift"},
    "web": BOTTOM | {"config", "store", "review", "drift", "tls"},
    "workers": ROAD | {"review", "judging.assignment"},
    "directory": ROAD | {"judging"},
    "schedule": ROAD | {"workers"},
    "watching": ROAD | {"audit_trail", "dicom_listener", "workers"},
    "crew": ROAD | {"judging.opening", "judging.process", "review", "workers"},
    "node": ROAD | {"crew", "decisions", "dicom_listener", "review", "schedule", "ups.scp", "watching", "web.server", "workers"},
    "edge": {"config", "deliver.destination", "errors", "tls"},
    "doctor": ROAD | {"edge"},
    "status": ROAD,
    "audit": BOTTOM | {"config", "deliver", "store"},
    "audit_trail": BOTTOM | {"config", "store"},
    "backup": BOTTOM | {"cohort.pseudonyms", "config", "store"},
    "demo.phantom": BOTTOM | {"imaging"},
    "demo": ROAD | {"imaging", "node", "web.passwords"},
    "cli_worklist": ROAD | {"review", "cohort"},
    "cli_users": ROAD | {"web.passwords"},
    "cli_outbox": ROAD,
    "cli_progress": set(),
    "cli_backup": ROAD | {"backup", "cli_progress"},
    "cli": ROAD
    | {
        "audit",
        "cli_backup",
        "cli_outbox",
        "cli_progress",
        "cli_users",
        "cli_worklist",
        "demo",
        "directory",
        "doctor",
        "judging.here",
        "node",
        "status",
    },
    "__main__": {"cli"},
    "training": {"case", "digests", "errors", "tissues", "headers", "imaging", "assess", "demo.phantom", "cohort.format", "outcome"},
}
ONLY_IN = {
    "pynetdicom": ("qcnode.dicom_listener", "qcnode.ingest", "qcnode.ups.scp", "qcnode.deliver", "qcnode.demo.pacs"),
    "dicomweb_client": ("qcnode.deliver.stow_rs",),
    "sqlalchemy": ("qcnode.store",),
    "alembic": ("qcnode.store.migrations",),
    "torch": ("qcnode.assess", "training"),
    "SimpleITK": ("qcnode.imaging",),
    "fastapi": ("qcnode.web",),
    "starlette": ("qcnode.web",),
    "uvicorn": ("qcnode.web.server",),
    "argon2": ("qcnode.web.passwords",),
    "cryptography": ("qcnode.tls",),
    "prometheus_client": ("qcnode.observe",),
    "typer": ("qcnode.cli", "training.cli"),
}
MODULES = sorted(p for package in ("qcnode", "training") for p in (ROOT / package).rglob("*.py"))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "qcnode" else set()
    return found


def _layer(module: str) -> str:
    """`qcnode.store.inbox` -> `store`; `demo.phantom` and `cohort.format` are layers of their own."""
    if module.startswith("training"):
        return "training"
    inner = module.removeprefix("qcnode").lstrip(".")
    return inner if inner in ("demo.phantom", "cohort.format") else inner.split(".")[0]


def _is_allowed(importer: str, imported: str) -> bool:
    mine, theirs = _layer(importer), _layer(imported)
    inner = imported.removeprefix("qcnode.")
    if mine == theirs or theirs in (f"{mine}.phantom", f"{mine}.format") or inner == "__version__":
        return True
    return any(inner == permitted or inner.startswith(permitted + ".") for permitted in ALLOWED[mine] if permitted)


def test_imports_run_downward_only() -> None:
    upward = {
        (_name(path), imported)
        for path in MODULES
        for imported in _imports(path)
        if imported.startswith(("qcnode.", "training")) and not _is_allowed(_name(path), imported)
    }
    assert upward == set()


def test_libraries_have_their_place() -> None:
    strayed = {
        (_name(path), library)
        for path in MODULES
        for library in {i.split(".")[0] for i in _imports(path)} & set(ONLY_IN)
        if not _name(path).startswith(ONLY_IN[library])
    }
    assert strayed == set()


def test_stages_know_no_clock() -> None:
    timeless = [p for p in MODULES if _name(p).startswith(("qcnode.imaging", "qcnode.assess", "qcnode.report"))]
    assert timeless
    told = {_name(p) for p in timeless if {"time", "socket", "uuid"} & {i.split(".")[0] for i in _imports(p)}}
    told |= {_name(p) for p in timeless if "datetime.now" in p.read_text()}
    assert told == set()


def test_a_forbidden_import_is_seen() -> None:
    assert not _is_allowed("qcnode.imaging.grid", "qcnode.store.inbox")
    assert not _is_allowed("qcnode.cli", "training.train")
    assert not _is_allowed("training.train", "qcnode.store")
    assert _is_allowed("qcnode.ingest.storage_scp", "qcnode.store.inbox")


def test_one_room_has_one_purpose() -> None:
    """Modules of about 300 lines at most."""
    assert {_name(p) for p in MODULES if len(p.read_text().splitlines()) > 330} == set()
