"""What no other account of the machine may read, and what no output may show; and nothing that could run code is loaded."""

import ast
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file
from typer.testing import CliRunner

from qcnode import cli
from qcnode.assess.inference import QCPredictor
from qcnode.assess.model_card import CARD_NAME
from qcnode.config import Config, load_config
from qcnode.config.parts import SECRET_FILES, Section, secret_files
from qcnode.digests import sha256_of
from qcnode.doctor import examine
from qcnode.errors import ConfigurationError

ROOT = Path(__file__).parent.parent
SECRET = "correct-horse-battery-staple"
CONFIGURATION = """
storage: {directory: node, minimum_free_mb: 1}
tasks: {}
destinations:
  - {name: web, kind: stow-rs, url: "http://127.0.0.1:9/dicom-web", username: qc, password_file: secret}
  - {name: other, kind: stow-rs, url: "http://127.0.0.1:9/dicom-web", username: qc, password_env: QCNODE_TEST_SECRET}
notifications:
  channels:
    - {name: hook, kind: webhook, url: "http://127.0.0.1:9/hook", secret_file: secret, timeout_seconds: 1}
monitoring: {token_file: secret}
"""


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every kind of secret, in a file that the node's account alone can read, and in the environment."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    (tmp_path / "secret").chmod(0o600)
    monkeypatch.setenv("QCNODE_TEST_SECRET", SECRET)
    path = tmp_path / "config.yaml"
    path.write_text(CONFIGURATION)
    return path


def complaints(configuration: Path, name: str) -> list[str]:
    return [check.detail for check in examine(load_config(configuration)) if check.name == name and not check.ok]


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--notify"], ["status"], ["worklist", "list"], ["audit"]])
def test_no_command_shows_a_secret(configuration: Path, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "console", Console(width=500))
    said = CliRunner().invoke(cli.app, [*words, "--config", str(configuration)])
    assert words != ["doctor"] or "web" in said.output
    assert SECRET not in said.output + str(said.exception)


def test_a_configuration_holds_no_secret_whoever_prints_it(configuration: Path) -> None:
    config = load_config(configuration)
    for dump in (repr(config), str(config.model_dump()), config.model_dump_json()):
        assert SECRET not in dump
        assert "secret" in dump


@pytest.mark.parametrize("wrong", [f"password: {SECRET}", f"password_file: [{SECRET}]", f"secret: {SECRET}"])
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(configuration: Path, wrong: str) -> None:
    configuration.write_text(CONFIGURATION.replace("password_file: secret", wrong))
    with pytest.raises(ConfigurationError) as refused:
        load_config(configuration)
    assert SECRET not in str(refused.value)


def test_an_address_with_a_password_is_refused_and_not_repeated(configuration: Path) -> None:
    configuration.write_text(CONFIGURATION.replace("http://127.0.0.1:9/dicom-web", f"http://qc:{SECRET}@127.0.0.1:9/dicom-web"))
    with pytest.raises(ConfigurationError, match="without user and password") as refused:
        load_config(configuration)
    assert SECRET not in str(refused.value)


def test_every_file_with_a_secret_is_looked_at(configuration: Path) -> None:
    assert [path.name for path in secret_files(load_config(configuration))] == ["secret"] * 3


def test_every_key_that_names_a_file_is_known_as_secret_or_not() -> None:
    """A new key of this kind has to be put into one of the two lists."""
    public = {"ca_file", "certificate_file"}
    found, waiting = set(), [Section]
    while waiting:
        section = waiting.pop()
        waiting += section.__subclasses__()
        found |= {key for key in section.model_fields if key.endswith("_file")}
    assert Config in Section.__subclasses__()
    assert found <= public | SECRET_FILES


def test_doctor_finds_a_secret_that_everybody_can_read(configuration: Path) -> None:
    assert complaints(configuration, "secrets") == []
    (configuration.parent / "secret").chmod(0o604)
    found = complaints(configuration, "secrets")
    assert found
    assert all("every account" in said and SECRET not in said for said in found)


def test_doctor_finds_patient_data_that_everybody_can_read(configuration: Path) -> None:
    assert complaints(configuration, "privacy") == []
    (configuration.parent / "node").chmod(0o755)
    assert complaints(configuration, "privacy")


def test_what_a_command_writes_is_for_its_own_account(configuration: Path) -> None:
    """In a process of its own, which begins with the usual umask."""
    command = [sys.executable, "-m", "qcnode", "status", "--config", str(configuration)]
    subprocess.run(command, check=True, capture_output=True, umask=0o022, env=os.environ | {"COLUMNS": "200"})
    written = [configuration.parent / "node", *(configuration.parent / "node").rglob("*")]
    assert len(written) > 1
    assert {path.name: oct(path.stat().st_mode) for path in written if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)} == {}


class _Exploit:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("file", ["weights.safetensors", "pseudo-reference.safetensors"])
def test_a_pickle_in_place_of_weights_is_refused_and_not_run(tmp_path: Path, file: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(ROOT / "qcnode/models/cardiac-sax", model)
    (model / file).write_bytes(pickle.dumps(_Exploit(tmp_path / "ran")))
    card = json.loads((model / CARD_NAME).read_text())
    for listed in card["files"]:
        listed["sha256"] = sha256_of(model / listed["name"])  # its digest is right: only the format is wrong
    (model / CARD_NAME).write_text(json.dumps(card))
    with pytest.raises(ConfigurationError, match="safetensors format"):
        QCPredictor(model, device="cpu")
    assert not (tmp_path / "ran").exists()
    assert pickle.loads((model / file).read_bytes()) is None
    assert (tmp_path / "ran").exists(), "the pickle would have run"


RUNS_CODE = frozenset({"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"})
SAFE_YAML = frozenset({"safe_load", "safe_dump", "YAMLError"})


def unsafe_loading(source: str) -> list[str]:
    """Calls and imports that could run what a file says."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name.split(".")[0] in RUNS_CODE]
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in RUNS_CODE:
                found.append(module)
            case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name not in SAFE_YAML:
                found.append(f"yaml.{name}")
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=given):
                if not any(k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True for k in given):
                    found.append("torch.load without weights_only=True")
            case ast.Call(func=ast.Name(id="eval" | "exec" as name)):
                found.append(name)
            case ast.keyword(arg="allow_pickle"):
                found.append("allow_pickle")
    return found


def test_nothing_that_runs_code_is_loaded() -> None:
    sources = [path for package in ("qcnode", "training") for path in (ROOT / package).rglob("*.py")]
    assert {path.name: found for path in sources if (found := unsafe_loading(path.read_text()))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "eval(text)",
    ],
)
def test_unsafe_loading_is_seen(source: str) -> None:
    assert unsafe_loading(source)


def test_packaged_weights_are_in_the_safe_format() -> None:
    files = [p for p in (ROOT / "qcnode/models").rglob("*") if p.is_file() and p.suffix not in (".json", ".md")]
    assert files
    assert all(path.suffix == ".safetensors" and load_file(path) for path in files)
