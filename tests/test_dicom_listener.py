"""Who gets into a DICOM listener, over real connections: what strangers are told, and what silent, slow and many peers can not do."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Files
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from qcnode.clock import utc_now
from qcnode.config import Listen
from qcnode.dicom_listener import Callers, DicomListener, Rejections, start_listener
from qcnode.dicom_listener.lobby import MAXIMUM_HALF_OPEN
from qcnode.rejection import Rejection, Times

Start = Callable[..., DicomListener]
HEALTH_CHECKS = int(os.environ.get("QCNODE_HEALTH_CHECKS", "150"))
"""2000 for the figures of docs/reliability.md."""


def pdu(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(content)) + content


def item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


_CONTEXT = b"\x01\0\0\0" + item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.840.10008.1.2")
_USER = item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3")
ASSOCIATE = pdu(
    1,
    struct.pack(">HH16s16s32x", 1, 0, b"QCNODE".ljust(16), b"PACS".ljust(16))
    + item(0x10, b"1.2.840.10008.3.1.1.1")
    + item(0x20, _CONTEXT)
    + item(0x50, _USER),
)
"""A-ASSOCIATE-RQ for Verification: without pynetdicom a test can make hundreds of them at once."""


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def node_files(authority: Authority) -> Files:
    return authority.sign("node")


@pytest.fixture(scope="module")
def caller_files(authority: Authority) -> Files:
    return authority.sign("pacs", alternative=("pacs.example",))


@pytest.fixture
def rejections() -> Rejections:
    return Rejections(utc_now)


@pytest.fixture
def start(rejections: Rejections) -> Iterator[Start]:
    started: list[DicomListener] = []

    def start_one(handlers: list[Any] | None = None, **settings: Any) -> DicomListener:
        listen = Listen.model_validate({"port": 0, **settings})
        callers = Callers(listen.callers)
        contexts = [build_context(Verification)]
        started.append(
            start_listener(listen, "listen", contexts, handlers or [], callers=callers, everyone=not callers, rejections=rejections)
        )
        return started[-1]

    yield start_one
    for listener in started:
        listener.stop()


@pytest.fixture
def tls(authority: Authority, node_files: Files) -> dict[str, object]:
    return {"certificate_file": node_files.certificate, "private_key_file": node_files.key, "ca_file": authority.ca_file}


def client(authority: Authority, files: Files | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca_file)
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


def associate(listener: DicomListener, context: ssl.SSLContext | None = None, title: str = "PACS", called: str = "QCNODE") -> Association:
    entity = AE(title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 20
    tls_args = None if context is None else (context, "127.0.0.1")
    return entity.associate("127.0.0.1", listener.port, [build_context(Verification)], ae_title=called, tls_args=tls_args)


def echo_seconds(listener: DicomListener, context: ssl.SSLContext | None = None) -> float:
    """How long a whole C-ECHO takes, with its association."""
    began = time.monotonic()
    association = associate(listener, context)
    assert association.is_established
    assert association.send_c_echo().Status == 0x0000
    association.release()
    return time.monotonic() - began


def connect(listener: DicomListener, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", listener.port), timeout=20)
    connection.sendall(sent)
    return connection


def drip(connection: socket.socket, content: bytes) -> None:
    """A byte at a time, twenty in a second."""
    for byte in content:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def reasons(rejections: Rejections, number: int = 1) -> dict[str, int]:
    """Why callers were turned away, and how often, as soon as it is so many in all."""
    found: Counter[str] = Counter()

    def count(these: Mapping[Rejection, Times]) -> None:
        for rejection, times in these.items():
            found[rejection.reason] += times.count

    def are_told() -> bool:
        rejections.hand_over(count)
        return found.total() >= number

    until(are_told)
    return dict(found)


def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def test_echo_over_mutual_tls(start: Start, tls: dict[str, object], authority: Authority, caller_files: Files) -> None:
    versions: list[str] = []

    def look(event: evt.Event) -> None:
        versions.append(event.assoc.dul.socket.socket.version())

    listener = start([(evt.EVT_ESTABLISHED, look)], tls=tls)
    echo_seconds(listener, client(authority, caller_files))
    older = client(authority, caller_files)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    echo_seconds(listener, older)
    assert versions == ["TLSv1.3", "TLSv1.2"]


def _expired(authority: Authority, folder: Path) -> ssl.SSLContext:
    return client(authority, authority.sign("late", days=(-30, -1)))


def _of_tomorrow(authority: Authority, folder: Path) -> ssl.SSLContext:
    return client(authority, authority.sign("early", days=(1, 30)))


def _of_strangers(authority: Authority, folder: Path) -> ssl.SSLContext:
    return client(authority, Authority(folder, "Other CA").sign("stranger"))


def _anonymous(authority: Authority, folder: Path) -> ssl.SSLContext:
    return client(authority, None)


def _distrustful(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=Authority(folder, "Other CA").ca_file)
    files = authority.sign("doubter")
    context.load_cert_chain(files.certificate, files.key)
    return context


def _weak(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = client(authority, authority.sign("weak"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    return context


def _plain(authority: Authority, folder: Path) -> None:
    return None


@pytest.mark.parametrize(
    ("stranger", "reason"),
    [
        (_anonymous, "no-certificate"),
        (_of_strangers, "unknown-authority"),
        (_expired, "certificate-expired"),
        (_of_tomorrow, "certificate-not-yet-valid"),
        (_distrustful, "own-certificate-refused"),
        (_weak, "tls-too-old"),
        (_plain, "no-tls"),
    ],
)
def test_strangers_are_refused_before_they_can_say_anything(
    start: Start,
    tls: dict[str, object],
    authority: Authority,
    caller_files: Files,
    rejections: Rejections,
    tmp_path: Path,
    stranger: Callable[[Authority, Path], ssl.SSLContext | None],
    reason: str,
) -> None:
    listener = start(tls=tls)
    assert not associate(listener, stranger(authority, tmp_path)).is_established
    assert reasons(rejections) == {reason: 1}
    echo_seconds(listener, client(authority, caller_files))


def test_tls_1_1_is_not_spoken(start: Start, tls: dict[str, object], authority: Authority, caller_files: Files) -> None:
    context = client(authority, caller_files)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), connect(start(tls=tls)) as connection:
        context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_without_client_certificates_everybody_may_speak_tls(start: Start, tls: dict[str, object], authority: Authority) -> None:
    listener = start(tls={**tls, "ca_file": None, "client_certificates": "none"})
    echo_seconds(listener, client(authority, None))


@pytest.mark.parametrize(("name", "welcome"), [("pacs.example", True), ("pacs", True), ("other.example", False)])
def test_a_caller_is_bound_to_the_name_in_its_certificate(
    start: Start, tls: dict[str, object], authority: Authority, caller_files: Files, rejections: Rejections, name: str, welcome: bool
) -> None:
    listener = start(tls=tls, callers=[{"ae_title": "PACS", "certificate_name": name}])
    association = associate(listener, client(authority, caller_files))
    assert association.is_established is welcome
    association.release()
    assert reasons(rejections, not welcome) == ({} if welcome else {"caller-unknown": 1})


def test_a_renewed_certificate_is_shown_to_who_comes_next(start: Start, authority: Authority, caller_files: Files, tmp_path: Path) -> None:
    own = Authority(tmp_path, "Own CA")
    files = own.sign("first")
    listener = start(tls={"certificate_file": files.certificate, "private_key_file": files.key, "ca_file": authority.ca_file})
    old = associate(listener, client(own, caller_files))
    assert old.is_established
    renewed = authority.sign("renewed")
    files.certificate.write_bytes(renewed.certificate.read_bytes())
    with pytest.raises(Exception, match="is not that of the certificate"):
        listener.reload_certificates()
    echo_seconds(listener, client(own, caller_files))
    files.key.write_bytes(renewed.key.read_bytes())
    listener.reload_certificates()
    echo_seconds(listener, client(authority, caller_files))
    assert not associate(listener, client(own, caller_files)).is_established
    assert old.send_c_echo().Status == 0x0000, "who is inside stays"
    old.release()


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("stalled", [20, 200])
def test_stalled_peers_hold_nobody_up(
    start: Start, tls: dict[str, object], authority: Authority, caller_files: Files, encrypted: bool, stalled: int
) -> None:
    """Done when: C-ECHO answers in under a second with 20 stalled peers."""
    listener = start(request_timeout_seconds=1.5, **({"tls": tls} if encrypted else {}))
    context = client(authority, caller_files) if encrypted else None
    usual = echo_seconds(listener, context)
    threads = threading.active_count()
    # half of them say nothing at all, half begin: with a TLS record or a PDU that never ends
    beginning = b"\x16\x03\x01\x02\x00" if encrypted else b"\x01\x00\x00\x00\x10\x00\x00\x01"
    peers = [connect(listener, beginning if i % 2 else b"") for i in range(stalled)]
    assert threading.active_count() <= threads
    seconds = max(echo_seconds(listener, context) for _ in range(3))
    print(  # noqa: T201
        f"C-ECHO with {stalled} stalled peers, {'TLS' if encrypted else 'plain'}: {seconds:.3f} s; without: {usual:.3f} s"
    )
    assert seconds < 1
    for peer in peers:
        assert peer.recv(1) == b"", "turned out when its time is over"
        peer.close()
    echo_seconds(listener, context)


def test_the_lobby_is_never_full(start: Start, rejections: Rejections) -> None:
    listener = start(request_timeout_seconds=60)
    peers = [connect(listener) for _ in range(MAXIMUM_HALF_OPEN + 20)]
    assert echo_seconds(listener) < 1
    assert reasons(rejections, 21) == {"silent": 21}
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(
    ("sent", "answer", "reason"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"\x07\0\0\0\0\4\0\0\2\1", "no-dicom", id="http"),
        pytest.param(pdu(4, b"\0" * 20), b"\x07\0\0\0\0\4\0\0\2\2", "no-dicom", id="data-first"),
        pytest.param(pdu(1, b"\0" * 20), b"\x07\0\0\0\0\4\0\0\2\6", "no-dicom", id="short-request"),
        pytest.param(b"\1\0\xff\xff\xff\xff", b"\x07\0\0\0\0\4\0\0\2\6", "no-dicom", id="endless-request"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"", "tls-not-spoken", id="tls"),
    ],
)
def test_what_is_no_request_is_aborted(start: Start, rejections: Rejections, sent: bytes, answer: bytes, reason: str) -> None:
    listener = start()
    with connect(listener, sent) as stranger:
        try:
            assert stranger.recv(100) == answer
        except ConnectionResetError:
            assert not answer or len(sent) > 6, "what was not read any more makes TCP reset the connection"
    assert reasons(rejections) == {reason: 1}
    echo_seconds(listener)


def test_a_storm_is_rejected_for_now_and_comes_through_on_retry(start: Start, rejections: Rejections) -> None:
    listener = start(maximum_associations=20)
    echo_seconds(listener)
    before = threading.active_count(), open_files()
    answers: list[str] = []
    together, crowded = threading.Barrier(200), threading.Event()

    def send() -> None:
        together.wait()
        for _ in range(200):
            with connect(listener, ASSOCIATE) as sender:
                answer = sender.recv(10)
                answers.append({2: "accepted", 3: answer[7:10].hex()}[answer[0]])
                if answer[0] == 2:
                    crowded.wait(30)
                    time.sleep(0.1)
                    return
                crowded.set()
                time.sleep(0.1)

    senders = [threading.Thread(target=send) for _ in range(200)]
    for sender in senders:
        sender.start()
    slowest = 0.0
    while any(sender.is_alive() for sender in senders):
        began = time.monotonic()
        with connect(listener, ASSOCIATE) as other:
            other.recv(10)
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.05)
    assert answers.count("accepted") == 200, "everybody came through"
    assert set(answers) == {"accepted", "020302"}, "the others: transient, local limit exceeded"
    assert slowest < 5, "an answer comes all the while"
    until(lambda: (threading.active_count(), open_files()) <= before)
    assert set(reasons(rejections)) == {"limit"}
    echo_seconds(listener)


def test_one_address_can_not_take_all_places(start: Start, rejections: Rejections) -> None:
    listener = start(maximum_associations_per_address=2)
    held = [associate(listener) for _ in range(2)]
    answer = associate(listener).acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    assert reasons(rejections) == {"address-limit": 1}
    held[0].release()
    until(lambda: associate(listener).is_established)
    held[1].release()


def test_the_called_title_counts_where_it_is_checked(start: Start, rejections: Rejections) -> None:
    assert associate(start(), called="OTHER").is_established
    answer = associate(start(check_called_ae_title=True), called="OTHER").acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)
    assert reasons(rejections) == {"called-title-wrong": 1}


def test_an_association_does_not_last_for_ever(start: Start) -> None:
    association = associate(start(maximum_association_minutes=1 / 60))
    until(lambda: not association.is_established)
    assert association.is_aborted


def test_a_pdu_that_comes_byte_by_byte_ends_the_association_in_time(start: Start) -> None:
    """Slowloris: something arrives all the time, so that a silence never ends it."""
    listener = start(network_timeout_seconds=1)
    with connect(listener, ASSOCIATE) as slow:
        assert slow.recv(1) == b"\2"
        began = time.monotonic()
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            drip(slow, pdu(4, b"\0" * 200))
    assert time.monotonic() - began < 5
    echo_seconds(listener)


def test_a_pdu_larger_than_agreed_is_not_collected(start: Start) -> None:
    listener = start()
    with connect(listener, ASSOCIATE) as sender:
        assert sender.recv(1) == b"\2"
        sender.sendall(b"\4\0\xff\xff\xff\xff")
        while sender.recv(4096):
            pass
    echo_seconds(listener)


def test_a_command_set_without_end_is_aborted(start: Start) -> None:
    listener = start()
    fragment = pdu(4, struct.pack(">LBB", 60002, 1, 1) + b"\0" * 60000)
    with connect(listener, ASSOCIATE) as sender:
        received = sender.recv(4096)
        sender.sendall(fragment * 3)
        while piece := sender.recv(4096):
            received += piece
    assert received[-10] == 7, "A-ABORT"
    echo_seconds(listener)


def test_health_checks_leak_nothing(start: Start, rejections: Rejections) -> None:
    """Bare connections and short associations, as load balancers make them by the thousand."""
    listener = start()

    def check(number: int) -> None:
        for _ in range(number):
            with connect(listener, ASSOCIATE) as association:
                association.recv(4096)
                association.sendall(pdu(5, b"\0" * 4))
                assert association.recv(10)[0] == 6
            connect(listener).close()

    check(100)
    until(lambda: threading.active_count() < 12)
    threads, files, memory = threading.active_count(), open_files(), resident_bytes()
    check(HEALTH_CHECKS)
    until(lambda: (threading.active_count(), open_files()) <= (threads, files))
    grown = (resident_bytes() - memory) / 2**20
    sys.stdout.write(f"\n{HEALTH_CHECKS} associations and {HEALTH_CHECKS} bare connections: {grown:+.1f} MB\n")
    assert grown < 20
    assert reasons(rejections, 0) == {}, "they are no attack"


def test_who_does_not_wait_for_answers_is_read_no_faster_than_it_is_served(start: Start) -> None:
    waiting: list[int] = []

    def slow_echo(event: evt.Event) -> int:
        time.sleep(0.02)
        waiting.append(event.assoc.dimse.msg_queue.qsize())
        return 0x0000

    listener = start([(evt.EVT_C_ECHO, slow_echo)])
    elements = ((2, b"1.2.840.10008.1.1\0"), (0x100, b"\x30\0"), (0x110, b"\1\0"), (0x800, b"\1\1"))
    command = b"".join(struct.pack("<HHL", 0, tag, len(value)) + value for tag, value in elements)
    command = struct.pack("<HHLL", 0, 0, 4, len(command)) + command
    request = pdu(4, struct.pack(">LBB", len(command) + 2, 1, 3) + command)
    with connect(listener, ASSOCIATE) as sender:
        sender.recv(4096)
        sender.sendall(request * 30)
        until(lambda: len(waiting) == 30)
    assert max(waiting) == 1


def test_a_peer_that_vanishes_is_looked_for(start: Start) -> None:
    found: list[int] = []

    def look(event: evt.Event) -> None:
        connection = event.assoc.dul.socket.socket
        found.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE))

    echo_seconds(start([(evt.EVT_ESTABLISHED, look)]))
    assert found == [1, 30]
