"""The server over a real socket: events as they happen, and an end that waits for nobody."""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from store_samples import at
from web_samples import Site, open_site

from qcnode.errors import ConfigurationError
from qcnode.store.audit import AuditEntry
from qcnode.web.events import event_of
from qcnode.web.server import WebServer


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = open_site(tmp_path)
    made.put("1", patient_name="DOE^JANE")
    return made


@pytest.fixture
def server(site: Site) -> Iterator[WebServer]:
    started = WebServer(site.app, "127.0.0.1", 0)
    yield started
    started.stop()


def listen(server: WebServer, site: Site, address: str = "/events", **headers: str) -> http.client.HTTPResponse:
    token = site.context.accounts.open_session("meyer", site.clock())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", address, headers={"Cookie": f"qcnode={token}", **headers})
    return connection.getresponse()


def next_event(stream: http.client.HTTPResponse) -> dict[str, object]:
    while not (line := stream.readline()).startswith(b"data:"):
        assert line, "the stream has ended"
    return json.loads(line.removeprefix(b"data:"))


def test_a_change_is_told_while_it_happens(site: Site, server: WebServer) -> None:
    stream = listen(server, site)
    assert stream.getheader("content-type", "").startswith("text/event-stream")
    stream.readline()
    time.sleep(0.5)
    site.review.viewed(1, "okafor", site.clock())
    site.review.claim(1, "okafor", site.clock())
    assert next_event(stream) == {"item_id": 1, "action": "claim", "by": "okafor"}


def test_what_was_missed_is_told_afterwards(site: Site, server: WebServer) -> None:
    known = site.context.audit.last_id()
    site.review.claim(1, "okafor", site.clock())
    assert next_event(listen(server, site, f"/events?after={known}"))["action"] == "claim"
    assert next_event(listen(server, site, "/api/v1/events", **{"Last-Event-ID": str(known)}))["action"] == "claim"


def test_events_name_no_patient_and_no_verdict() -> None:
    entry = AuditEntry(7, at(0), "meyer", "decide", "worklist-item/3", {"verdict": "PASS", "comment": "DOE"})
    assert event_of(entry) == 'id: 7\nevent: item\ndata: {"item_id": 3, "action": "decide", "by": "meyer"}\n\n'


def test_stopping_does_not_wait_for_pages_that_listen(site: Site) -> None:
    server = WebServer(site.app, "127.0.0.1", 0)
    stream = listen(server, site)
    stream.readline()
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 8
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_a_port_that_is_taken_is_a_configuration_error(site: Site, server: WebServer) -> None:
    with pytest.raises(ConfigurationError, match=r"another web\.port"):
        WebServer(site.app, "127.0.0.1", server.port)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def https(server: WebServer, authority: Authority) -> http.client.HTTPResponse:
    context = ssl.create_default_context(cafile=authority.ca_file)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=30, context=context)
    connection.request("GET", "/sign-in")
    return connection.getresponse()


def test_https_by_the_node_itself(tmp_path: Path, authority: Authority) -> None:
    files = authority.sign("web")
    tls = {"certificate_file": files.certificate, "private_key_file": files.key}
    site = open_site(tmp_path, tls=tls)
    server = WebServer(site.app, "127.0.0.1", 0, site.context.settings.tls)
    try:
        answer = https(server, authority)
        assert answer.getheader("strict-transport-security") == "max-age=31536000"
        assert answer.getheader("set-cookie", "").startswith("__Host-")
        with pytest.raises((http.client.HTTPException, OSError)):
            listen(server, site)
        renewed = Authority(tmp_path, "Other CA").sign("renewed")
        files.certificate.write_bytes(renewed.certificate.read_bytes())
        with pytest.raises(ConfigurationError, match="not that of the certificate"):
            server.reload_certificate()
        assert https(server, authority).status == 200
        files.key.write_bytes(renewed.key.read_bytes())
        server.reload_certificate()
        with pytest.raises(ssl.SSLCertVerificationError):
            https(server, authority)
    finally:
        server.stop()
