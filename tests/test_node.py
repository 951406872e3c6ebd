import socket
import ssl
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import pytest
from certificates import Authority
from receivers import web_receiver
from store_samples import at, put_item
from ups_samples import Caller

from qcnode.config import Config, ReviewSettings
from qcnode.deliver.opening import wanted_kinds
from qcnode.errors import ConfigurationError
from qcnode.node import Node
from qcnode.review import Review
from qcnode.store.database import open_database
from qcnode.store.notices import Notices
from qcnode.store.outbox import KIND_ORDER
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.worklist import Decision, Judgement, Worklist


def config(directory: Path, **changes: object) -> Config:
    return Config.model_validate(
        {"listen": {"port": 0}, "web": {"port": 0}, "storage": {"directory": str(directory), "minimum_free_mb": 1}, **changes}
    )


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
    nothing = {"summary_image": False, "error_map": False, "decision_report": False, "key_object": False}
    everything = dict.fromkeys(nothing, True)
    destinations = [pacs, pacs | {"name": "bare"} | nothing, pacs | {"name": "full"} | everything]
    plain, bare, full = config(tmp_path, destinations=destinations).destinations
    assert wanted_kinds(plain) == {"report", "error_map", "summary", "decision"}
    assert wanted_kinds(bare) == {"report"}
    assert wanted_kinds(full) == {"report", "error_map", "summary", "decision", "key_object"} == set(KIND_ORDER)


def test_a_running_node_listens_for_workstations_where_it_shall(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    put_item(database, "1")
    database.close()
    settings = {"enabled": True, "port": 0, "callers": [{"ae_title": "READING1", "reader": "ann"}]}
    node = Node(config(tmp_path, ups=settings))
    node.start()
    try:
        assert node.ups_port
        workstation = Caller("READING1", node.ups_port)
        assert len(workstation.found(ProcedureStepState="SCHEDULED")) == 1
        assert not Caller("ANYBODY", node.ups_port).is_accepted()
        workstation.leave()
    finally:
        node.stop()


def test_a_running_node_makes_decisions_final_and_tells_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "a secret of some length")
    database = open_database(tmp_path)
    number = put_item(database, "1").item_id
    review = Review(Worklist(database), ReviewSettings())
    review.claim(number, "ann", at(0))
    review.decide(number, "ann", Judgement(Decision.REJECT), at(1))
    with web_receiver() as receiver:
        receiver.answers = [500]
        hook = {"name": "hook", "kind": "webhook", "url": receiver.url, "secret_env": "HOOK_SECRET"}
        channels = [hook | {"name": "away", "url": "http://127.0.0.1:9/"}, hook]
        told = {"channels": channels, "rules": [{"when": "decided", "channels": ["away", "hook"]}]}
        node = Node(config(tmp_path, notifications=told, retry={"first_seconds": 0.1}))
        node.start()
        try:
            deadline = monotonic() + 60
            while Notices(database).counts().get("hook") != {"SENT": 1} and monotonic() < deadline:
                sleep(0.05)
        finally:
            node.stop()
    assert review.show(number, at(2)).state == "DECIDED"
    assert [post.headers["webhook-id"] for post in receiver.posts] == [receiver.posts[0].headers["webhook-id"]] * 2
    assert Notices(database).counts()["away"] == {"PENDING": 1}
    database.close()


def test_a_running_node_shows_renewed_certificates_and_keeps_who_was_turned_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    files, pacs = authority.sign("node"), authority.sign("pacs")
    shown = {"certificate_file": str(files.certificate), "private_key_file": str(files.key)}
    listen = {"port": 0, "callers": [{"ae_title": "PACS"}], "tls": {**shown, "ca_file": str(authority.ca_file)}}
    node = Node(config(tmp_path / "storage", listen=listen, web={"port": 0, "tls": shown}))
    node.start()

    def serial_number(port: int | None) -> str:
        context = ssl.create_default_context(cafile=authority.ca_file)
        context.load_cert_chain(pacs.certificate, pacs.key)
        with socket.create_connection(("127.0.0.1", port or 0)) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
            return str((tls.getpeercert() or {})["serialNumber"])

    try:
        assert str(node.sign_in_address("root")).startswith("https://")
        before = serial_number(node.port)
        assert serial_number(node.web_port) == before
        files.key.write_text("")
        node.reload_certificates()
        assert serial_number(node.port) == before
        assert "holds no private key" in caplog.text
        renewed = authority.sign("node")
        node.reload_certificates()
        assert renewed == files
        after = serial_number(node.port)
        assert after != before
        assert serial_number(node.web_port) == after
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as stranger, suppress(ConnectionResetError):
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.recv(1)
    finally:
        node.stop()
    database = open_database(tmp_path / "storage")
    assert "no-tls" in [rejection.reason for rejection, _ in RejectedCallers(database).list()]
    database.close()
