"""What the documentation says of the configuration is what the configuration is, and its links lead somewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from pydicom.sr.coding import Code
from typer.main import get_command

from qcnode.case import ReasonCode
from qcnode.cli import app
from qcnode.config import Config, load_config
from qcnode.report import codes

ROOT = Path(__file__).parent.parent
PLACEHOLDERS = {"tasks": "<name>", "contrasts": "<contrast>"}
LOGGED_IN = "X-Remote-User"
DEPLOYED = {"storage": {"directory": ROOT / "var/qcnode"}}


def model_of(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models that an annotation holds, through unions, Annotated, tuples and dicts."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) if not isinstance(part, str) for model in model_of(part)]


def is_optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation)


def container(annotation: Any) -> type | None:
    origin = get_origin(annotation)
    return container(get_args(annotation)[0]) if origin is Annotated else origin if origin in (tuple, dict) else None


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, its default) of every key that a user can write."""
    for name, field in model.model_fields.items():
        key, models = prefix + name, model_of(field.annotation)
        kind = container(field.annotation)
        default = field.get_default(call_default_factory=True)
        if not models or is_optional(field.annotation) or (kind is tuple):
            yield key, default
        if is_optional(field.annotation):
            continue
        inner = {tuple: f"{key}[].", dict: f"{key}.{PLACEHOLDERS.get(name, '')}.", None: f"{key}."}[kind]
        for part in models:
            yield from keys(part, inner)


def as_written(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    return f"`{plain(default)}`"


def plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return str(list(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def documented() -> dict[str, str]:
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "docs/configuration.md explains a key twice"
    return dict(rows)


EVERY_KEY = dict(keys(Config))


@pytest.mark.parametrize("key", EVERY_KEY)
def test_every_key_and_its_default_is_in_the_reference(key: str) -> None:
    assert documented().get(key) == as_written(EVERY_KEY[key])


def test_the_reference_has_no_key_that_is_gone() -> None:
    assert set(documented()) == set(EVERY_KEY)


@pytest.mark.parametrize("key", EVERY_KEY)
def test_every_key_is_explained_in_config_yaml(key: str) -> None:
    name = key.rsplit(".", 1)[-1]
    lines = [re.sub(r"^ *#> ", "", line).strip() for line in (ROOT / "config.yaml").read_text().splitlines()]
    at = [i for i, line in enumerate(lines) if line.removeprefix("- ").startswith(f"{name}:")]
    assert at, f"config.yaml does not show {key}"
    explained = any(lines[i - 1].startswith("# ") for i in at)
    named = any(re.match(rf"# .*\b{name}\b.*:", line) for line in lines)
    assert explained or named, f"config.yaml does not explain {key}"


def test_config_yaml_is_the_defaults() -> None:
    assert load_config(ROOT / "config.yaml") == Config.model_validate(DEPLOYED)


def test_the_examples_of_config_yaml_are_valid(tmp_path: Path) -> None:
    used = tmp_path / "config.yaml"
    used.write_text(re.sub(r"^( *)#> ", r"\1", (ROOT / "config.yaml").read_text(), flags=re.MULTILINE))
    config = load_config(used)
    assert [d.kind for d in config.destinations] == ["c-store", "stow-rs"]
    assert config.listen.callers
    assert config.tasks["cardiac-sax"].predicted_nsd


@pytest.mark.parametrize("page", [*sorted(ROOT.glob("docs/**/*.md")), ROOT / "README.md"], ids=lambda p: p.name)
def test_yaml_in_the_pages_is_valid_configuration(page: Path) -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        Config.model_validate(yaml.safe_load(block))


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    lost = [t for t in targets if not re.match(r"[a-z]+:", t) and not (page.parent / t.split("#")[0]).exists()]
    assert lost == []


@pytest.mark.parametrize("code", ReasonCode)
def test_every_reason_code_is_explained(code: ReasonCode) -> None:
    assert f"\n| `{code}` | " in (ROOT / "docs/conformance.md").read_text()


def test_every_private_code_is_in_the_conformance_statement() -> None:
    private = [c for c in vars(codes).values() if isinstance(c, Code) and c.scheme_designator == codes.SCHEME]
    assert private
    statement = (ROOT / "docs/conformance.md").read_text()
    assert [c.value for c in private if f"\n| {c.value} | {c.meaning}" not in statement] == []


def test_the_readme_lists_every_command() -> None:
    program = get_command(app)
    listed = dict(re.findall(r"^\| `qcnode (\w+) ?([^`]*)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert set(listed) == set(program.commands) - {"version"}
    assert set(re.findall(r"\w+", listed["worklist"].split("--")[0])) == set(program.commands["worklist"].commands)


def test_files_that_the_documentation_points_to_are_there() -> None:
    """What a text calls proven is proven by a test that exists."""
    named = {
        (page.name, path)
        for page in (ROOT / "docs").glob("*.md")
        for path in re.findall(r"`((?:tests|qcnode|docker)/[\w/]+(?:\.py|\.lua|/)?)`", page.read_text())
    }
    assert ("security.md", "tests/test_secrets.py") in named
    assert sorted(n for n in named if not (ROOT / n[1]).exists()) == []


def test_the_proxy_example_passes_on_what_qcnode_relies_on() -> None:
    (example,) = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs/security.md").read_text(), re.DOTALL)
    for directive in ("Host $host", "X-Forwarded-For $remote_addr", f'{LOGGED_IN} ""'):
        assert f"proxy_set_header {directive};" in example
    for directive in ("proxy_pass http://127.0.0.1:8090", "proxy_buffering off", "ssl_protocols TLSv1.2 TLSv1.3"):
        assert f"{directive};" in example
