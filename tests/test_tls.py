"""TLS settings: what is agreed on, and what an administrator is told where files are wrong."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority

from qcnode.config import Certificate, DestinationTls, ListenerTls
from qcnode.errors import ConfigurationError, Retryable
from qcnode.tls import client_context, listener_context, probe, server_context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_only_authenticated_encryption_with_ephemeral_keys(authority: Authority) -> None:
    files = authority.sign("node")
    settings = ListenerTls(certificate_file=files.certificate, private_key_file=files.key, ca_file=authority.ca_file)
    for context in (listener_context(settings, "listen.tls"), client_context(DestinationTls(enabled=True), "d")):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        for cipher in context.get_ciphers():
            assert cipher["aead"]
            assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-")
        for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_TICKET):
            assert context.options & option
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_key_with_a_password(authority: Authority, tmp_path: Path) -> None:
    files = authority.sign("node", password="secret")
    (tmp_path / "password").write_text("secret\n")
    named = {"certificate_file": files.certificate, "private_key_file": files.key}
    server_context(Certificate(**named, password_file=tmp_path / "password"), "web.tls")
    (tmp_path / "password").write_text("other")
    with pytest.raises(ConfigurationError, match="or the password is wrong"):
        server_context(Certificate(**named, password_file=tmp_path / "password"), "web.tls")
    with pytest.raises(ConfigurationError, match="needs a password: set password_file"):
        server_context(Certificate(**named), "web.tls")


def test_wrong_files_are_named_with_what_is_wrong(authority: Authority, tmp_path: Path) -> None:
    node, other = authority.sign("node"), authority.sign("other")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    right: dict[str, Any] = {"certificate_file": node.certificate, "private_key_file": node.key, "ca_file": authority.ca_file}
    wrong: list[tuple[str, Path, str]] = [
        ("certificate_file", tmp_path / "absent", r"listen\.tls\.certificate_file: .*absent can not be read: No such file"),
        ("certificate_file", empty, r"empty\.pem holds no certificate"),
        ("private_key_file", empty, r"listen\.tls\.private_key_file: empty\.pem holds no private key"),
        ("private_key_file", other.key, r"the key in other\.key is not that of the certificate in node\.pem"),
        ("ca_file", empty, r"listen\.tls\.ca_file: empty\.pem holds no certificate"),
    ]
    for key, file, said in wrong:
        with pytest.raises(ConfigurationError, match=said):
            listener_context(ListenerTls(**{**right, key: file}), "listen.tls")


@pytest.mark.parametrize(
    ("model", "settings", "said"),
    [
        (ListenerTls, {"private_key_file": "k"}, "need certificate_file"),
        (ListenerTls, {"ca_file": "c"}, "need certificate_file"),
        (ListenerTls, {"certificate_file": "c"}, "ca_file: the authority"),
        (DestinationTls, {"ca_file": "c"}, "enabled: true is missing"),
    ],
)
def test_half_a_configuration_is_refused(model: Any, settings: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        model.model_validate(settings)


def test_a_probe_of_nothing_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(Retryable, match="no connection"):
            probe(free.getsockname(), client_context(DestinationTls(enabled=True), "d"), "127.0.0.1", 5)
