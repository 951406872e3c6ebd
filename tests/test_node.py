from pathlib import Path

import pytest

from qcnode.config import Config
from qcnode.errors import ConfigurationError
from qcnode.node import Node, wanted_kinds


def config(directory: Path, **changes: object) -> Config:
    return Config.model_validate({"listen": {"port": 0}, "storage": {"directory": str(directory), "minimum_free_mb": 1}, **changes})


def test_two_nodes_do_not_share_a_storage_directory(tmp_path: Path) -> None:
    first = Node(config(tmp_path))
    first.start()
    try:
        with pytest.raises(ConfigurationError, match="another qcnode"):
            Node(config(tmp_path)).start()
    finally:
        first.stop()
    again = Node(config(tmp_path))
    again.start()
    again.stop()


def test_a_node_that_can_not_start_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="weights 'liver'"):
        Node(config(tmp_path, tasks={"liver": {"weights": "liver"}})).start()
    node = Node(config(tmp_path))
    node.start()
    node.stop()


def test_destinations_get_what_they_are_configured_for(tmp_path: Path) -> None:
    pacs = {"name": "pacs", "kind": "c-store", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    plain, bare = config(tmp_path, destinations=[pacs, pacs | {"name": "bare", "summary_image": False, "error_map": False}]).destinations
    assert wanted_kinds(plain) == {"report", "error_map", "summary"}
    assert wanted_kinds(bare) == {"report"}
