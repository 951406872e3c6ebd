"""The DICOM audit trail: messages as PS3.15 A.5 has them, over syslog, and none missed while the receiver is away."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from store_samples import MR_IMAGE, START, at, put_item, receive
from web_samples import Clock

from qcnode.audit_trail.events import NodeIdentity
from qcnode.audit_trail.step import POSITION_FILE, AuditTrailStep
from qcnode.audit_trail.syslog import SyslogSender
from qcnode.config import AuditLog, Config
from qcnode.errors import ConfigurationError
from qcnode.node import Node
from qcnode.rejection import Rejection, Times
from qcnode.store.accounts import Accounts, Role
from qcnode.store.audit import Audit
from qcnode.store.database import Database, open_database
from qcnode.store.final_decisions import DecisionFilters
from qcnode.store.inbox import Inbox
from qcnode.store.new_rejections import NewRejections
from qcnode.store.outbox import Outbox
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.trail import Trail
from qcnode.store.worklist import Worklist

ME = NodeIdentity("QCNODE", "4711", "node.example.org", {"pacs": ("ARCHIVE", "192.0.2.7")})
LINE = re.compile(rb"<(\d+)>1 (\S+) (\S+) qcnode \d+ DICOM\+RFC3881 - \xef\xbb\xbf(.*)", re.DOTALL)
CHILDREN = ("EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification")
ATTRIBUTES = {
    "EventIdentification": ({"EventActionCode", "EventDateTime", "EventOutcomeIndicator"}, set()),
    "ActiveParticipant": ({"UserID", "UserIsRequestor"}, {"AlternativeUserID", "NetworkAccessPointID", "NetworkAccessPointTypeCode"}),
    "AuditSourceIdentification": ({"AuditSourceID"}, {"AuditEnterpriseSiteID"}),
    "ParticipantObjectIdentification": ({"ParticipantObjectID", "ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"}, set()),
}


@dataclass
class Message:
    """One line that arrived, and its XML, whose structure was checked."""

    line: bytes
    root: ET.Element

    @classmethod
    def of(cls, line: bytes) -> Message:
        found = LINE.fullmatch(line)
        assert found, line
        assert int(found[1]) == 85, "security, notice"
        datetime.fromisoformat(found[2].decode())
        root = ET.fromstring(found[4])
        check_structure(root)
        return cls(line, root)

    @property
    def event(self) -> tuple[str, ...]:
        """EventID, EventTypeCode where there is one, action, outcome."""
        (identification,) = self.root.findall("EventIdentification")
        codes = [code.get("csd-code", "") for code in identification]
        return (*codes, identification.get("EventActionCode", ""), identification.get("EventOutcomeIndicator", ""))

    @property
    def participants(self) -> list[tuple[str, str, str | None, str | None]]:
        """(user, requestor, role, address)."""
        return [
            (
                p.get("UserID", ""),
                p.get("UserIsRequestor", ""),
                role.get("csd-code") if (role := p.find("RoleIDCode")) is not None else None,
                p.get("NetworkAccessPointID"),
            )
            for p in self.root.findall("ActiveParticipant")
        ]

    @property
    def objects(self) -> dict[str, ET.Element]:
        """Code of the kind of identifier -> object."""
        return {o[0].get("csd-code", ""): o for o in self.root.findall("ParticipantObjectIdentification")}


def check_structure(root: ET.Element) -> None:
    """Elements in their order with the attributes that A.5.1 requires, and no others."""
    assert root.tag == "AuditMessage"
    tags = [child.tag for child in root]
    assert tags == sorted(tags, key=CHILDREN.index)
    assert (tags.count("EventIdentification"), tags.count("AuditSourceIdentification")) == (1, 1)
    assert "ActiveParticipant" in tags
    for child in root:
        required, optional = ATTRIBUTES[child.tag]
        assert required <= set(child.attrib) <= required | optional, child.tag
        assert all(child.get(name) for name in set(child.attrib) - {"ParticipantObjectID"})
    assert datetime.fromisoformat(root[0].get("EventDateTime", "")).tzinfo is not None
    assert root[0].get("EventActionCode") in set("CRUDE")
    for code in root.iter():
        if code.tag in ("EventID", "EventTypeCode", "RoleIDCode", "MediaType", "ParticipantObjectIDTypeCode"):
            assert list(code.attrib) == ["csd-code", "codeSystemName", "originalText"], code.tag
    for identified in root.findall("ParticipantObjectIdentification"):
        assert identified[0].tag == "ParticipantObjectIDTypeCode"
        assert {part.tag for part in identified[1:]} <= {"ParticipantObjectName", "ParticipantObjectDetail", "SOPClass"}


@dataclass
class Receiver:
    """An audit record repository."""

    port: int
    lines: list[bytes] = field(default_factory=list)
    connections: list[Any] = field(default_factory=list)

    def wait(self, number: int) -> list[Message]:
        deadline = monotonic() + 20
        while len(self.lines) < number:
            assert monotonic() < deadline, f"{len(self.lines)} of {number} messages"
            sleep(0.01)
        return [Message.of(line) for line in self.lines]


@contextmanager
def udp_receiver() -> Iterator[Receiver]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0.05)
        receiver, ended = Receiver(listening.getsockname()[1]), threading.Event()

        def run() -> None:
            while not ended.is_set():
                try:
                    receiver.lines.append(listening.recv(65535))
                except TimeoutError:
                    continue

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            ended.set()
            thread.join()


@contextmanager
def stream_receiver(context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Over TCP, or TLS with a context: octets are counted."""
    listening = socket.create_server(("127.0.0.1", port))
    receiver = Receiver(listening.getsockname()[1])

    def read(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while digits := _number(stream):
                receiver.lines.append(stream.read(digits))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
                connection = context.wrap_socket(connection, server_side=True) if context else connection
            except ssl.SSLError:
                continue
            except OSError:
                return
            receiver.connections.append(connection)
            threading.Thread(target=read, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for connection in receiver.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def _number(stream: Any) -> int:
    digits = b""
    while (one := stream.read(1)).isdigit():
        digits += one
    return int(digits or 0)


def open_step(database: Database, clock: Clock, port: int, **settings: object) -> AuditTrailStep:
    audit_log = AuditLog.model_validate({"enabled": True, "host": "127.0.0.1", "port": port, "transport": "udp"} | settings)
    position = database.directory / POSITION_FILE
    step = AuditTrailStep(
        audit_log, ME, Trail(database), Audit(database), NewRejections(database), SyslogSender(audit_log), position, clock
    )
    step.start()
    return step


def test_every_event_is_told(tmp_path: Path) -> None:
    database, clock = open_database(tmp_path), Clock()
    put_item(database, "10")
    with udp_receiver() as receiver:
        step = open_step(database, clock, receiver.port, site="Hospital")
        patient = {"PatientID": "T1", "PatientName": "TEST^ONLY"}
        for number in range(3):
            receive(Inbox(database, tmp_path, 0), f"2.25.10{number}", clock(), **patient)
        outbox, worklist = Outbox(database), Worklist(database)
        report = outbox.claim("pacs", "w", clock(), timedelta(minutes=1))
        assert report is not None
        outbox.delivered(report, clock())
        worklist.viewed(1, "ann", clock())
        accounts, audit = Accounts(database), Audit(database)
        accounts.add("ann", "hash", Role.READER, by="root", now=clock())
        for action, actor in (("sign-in", "ann"), ("sign-out", "ann"), ("sign-in-failed", "qcnode")):
            audit.add(at=clock(), actor=actor, action=action, subject="account/ann", details={"address": "192.0.2.9"})
        stranger = Rejection("listen", "caller-unknown", "192.0.2.66", "STRANGER", "QCNODE")
        RejectedCallers(database).add({stranger: Times(3, clock(), clock())})
        worklist.final_decisions(DecisionFilters(), "root", clock(), {"identified": False})
        clock.move(seconds=60)
        while step():
            pass
        step.stop()
        found = receiver.wait(11)
    by_event = {message.event: message for message in found}
    assert [message.event for message in found[:1] + found[-1:]] == [("110100", "110120", "E", "0"), ("110100", "110121", "E", "0")]
    received, sent = by_event["110104", "C", "0"], by_event["110104", "R", "0"]
    assert received.participants == [("PACS", "true", "110153", "127.0.0.1"), ("4711", "false", "110152", "node.example.org")]
    assert received.objects["110180"].get("ParticipantObjectID") == "2.25.1"
    assert [s.attrib for s in received.objects["110180"].iter("SOPClass")] == [{"UID": MR_IMAGE, "NumberOfInstances": "3"}]
    assert (received.objects["2"].get("ParticipantObjectID"), received.objects["2"].findtext("ParticipantObjectName")) == (
        "T1",
        "TEST^ONLY",
    )
    assert sent.participants == [("4711", "true", "110153", "node.example.org"), ("ARCHIVE", "false", "110152", "192.0.2.7")]
    viewed = by_event["110103", "R", "0"]
    assert viewed.participants[0] == ("ann", "true", None, None)
    assert (viewed.objects["2"].get("ParticipantObjectID"), viewed.objects["110180"].get("ParticipantObjectID")) == ("T1", "2.25.1")
    assert by_event["110114", "110122", "E", "0"].participants[0] == ("ann", "true", None, "192.0.2.9")
    assert by_event["110114", "110123", "E", "0"].participants[0][0] == "ann"
    assert by_event["110114", "110122", "E", "4"].participants[0] == ("ann", "true", None, "192.0.2.9")
    assert by_event["110113", "110137", "E", "0"].participants[0][0] == "root"
    alert = by_event["110113", "110126", "E", "4"]
    assert alert.participants[1] == ("STRANGER", "true", "110153", "192.0.2.66")
    assert alert.objects["110182"].get("ParticipantObjectID") == "192.0.2.66"
    exported = by_event["110106", "R", "0"]
    assert [role for _, _, role, _ in exported.participants] == [None, "110153", "110154"]
    details = {d.get("type"): b64decode(d.get("value", "")) for d in exported.objects["110182"].iter("ParticipantObjectDetail")}
    assert details["identified"] == b"False"
    source = found[0].root.find("AuditSourceIdentification")
    assert source is not None
    assert source.attrib == {"AuditSourceID": "qcnode", "AuditEnterpriseSiteID": "Hospital"}
    database.close()


def test_the_patient_can_be_left_out(tmp_path: Path) -> None:
    database, clock = open_database(tmp_path), Clock()
    put_item(database, "10")
    with udp_receiver() as receiver:
        step = open_step(database, clock, receiver.port, patient=False)
        receive(Inbox(database, tmp_path, 0), "2.25.100", clock(), PatientID="T1")
        Worklist(database).viewed(1, "ann", clock())
        clock.move(seconds=60)
        while step():
            pass
        found = receiver.wait(3)
    assert all(b"TEST" not in message.line and b"T1" not in message.line and "2" not in message.objects for message in found)
    assert {message.event[0] for message in found} == {"110100", "110103", "110104"}
    database.close()


def test_nothing_is_missed_while_the_receiver_is_away_or_the_node_is_down(tmp_path: Path) -> None:
    database, clock = open_database(tmp_path), Clock()
    put_item(database, "10")
    worklist = Worklist(database)
    with stream_receiver() as receiver:
        step = open_step(database, clock, receiver.port, transport="tcp")
        assert step()
        receiver.wait(1)
    worklist.viewed(1, "away", clock())
    assert not step()
    began = monotonic()
    assert not any(step() for _ in range(20)), "it waits before it tries again"
    assert monotonic() - began < 1, "and holds nothing up"
    with stream_receiver(port=receiver.port) as again:
        clock.move(seconds=600)
        assert step()
        assert again.wait(1)[0].participants[0][0] == "away"
        step.stop()
    worklist.viewed(1, "down", clock())
    with stream_receiver(port=receiver.port) as third:
        later = open_step(database, clock, receiver.port, transport="tcp")
        while later():
            pass
        names = [message.participants[0][0] for message in third.wait(2)]
        assert names == ["4711", "down"], "told once, and the past before it not again"
        later.stop()
    database.close()


def certificate(folder: Path, name: str, issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None) -> tuple[Any, Any]:
    """A certificate and its key, written to <name>.pem and <name>.key; self-signed without an issuer."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.issuer_name(issuer[0].subject if issuer else subject)
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    made = builder.sign(issuer[1] if issuer else key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(key.private_bytes(*form))
    return made, key


def test_over_tls_both_sides_are_known(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "authority")
    for name in ("receiver", "qcnode"):
        certificate(tmp_path, name, authority)
    certificate(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "receiver.pem", tmp_path / "receiver.key")
    context.load_verify_locations(tmp_path / "authority.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    files = {"certificate_file": tmp_path / "qcnode.pem", "private_key_file": tmp_path / "qcnode.key"}
    database, clock = open_database(tmp_path / "storage"), Clock()
    with stream_receiver(context) as receiver:
        wrong = open_step(database, clock, receiver.port, transport="tls", ca_file=tmp_path / "stranger.pem", **files)
        assert not wrong()
        step = open_step(database, clock, receiver.port, transport="tls", ca_file=tmp_path / "authority.pem", **files)
        assert step()
        assert receiver.wait(1)[0].event == ("110100", "110120", "E", "0")
        assert len(receiver.lines) == 1, "nothing was said to a receiver that nobody vouches for"
        step.stop()
    with pytest.raises(ConfigurationError, match="certificates"):
        open_step(database, clock, 1, transport="tls", ca_file=tmp_path / "nothing.pem")
    database.close()


def test_what_a_peer_calls_itself_does_not_break_the_xml(tmp_path: Path) -> None:
    database, clock = open_database(tmp_path), Clock()
    with udp_receiver() as receiver:
        step = open_step(database, clock, receiver.port)
        Audit(database).add(at=START, actor='<a>&"\x00\x1b', action="sign-in", subject='account/<a>&"\x00\x1b', details={})
        while step():
            pass
        found = receiver.wait(2)
    assert found[1].participants[0][0] == '<a>&"??'
    database.close()


def test_a_node_tells_of_its_start_and_its_end(tmp_path: Path) -> None:
    with udp_receiver() as receiver:
        audit_log = {"enabled": True, "host": "127.0.0.1", "port": receiver.port, "transport": "udp"}
        storage = {"directory": str(tmp_path), "minimum_free_mb": 1}
        tasks = {"la-lge": {"weights": "la-lge"}}
        node = Node(
            Config.model_validate(
                {"listen": {"port": 0}, "web": {"enabled": False}, "storage": storage, "tasks": tasks, "audit_log": audit_log}
            )
        )
        node.start()
        try:
            assert receiver.wait(1)[0].event == ("110100", "110120", "E", "0")
        finally:
            node.stop()
        assert receiver.wait(2)[1].event == ("110100", "110121", "E", "0")


@pytest.mark.parametrize("wrong", [{"host": None}, {"host": "a", "certificate_file": "x.pem"}])
def test_a_configuration_that_can_not_work_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AuditLog.model_validate({"enabled": True} | wrong)


def test_times_before_the_start_are_not_told(tmp_path: Path) -> None:
    """The first start of all begins with the present: a database of years is no news."""
    database, clock = open_database(tmp_path), Clock()
    put_item(database, "10")
    Worklist(database).viewed(1, "long ago", at(1))
    with udp_receiver() as receiver:
        step = open_step(database, clock, receiver.port)
        while step():
            pass
        sleep(0.1)
        assert len(receiver.wait(1)) == 1
    database.close()
