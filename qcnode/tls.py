"""TLS as BCP 195 (RFC 8996, RFC 9325; PS3.15 B.12) wants it, for listeners, the web server and associations that qcnode makes.

TLS 1.2 and 1.3, ephemeral keys and authenticated encryption only. No compression and no renegotiation; no session tickets, whose key
would have to be changed every week (RFC 9325 3.4), and which associations of minutes do not need.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from qcnode.config import Certificate, DestinationTls, ListenerTls
from qcnode.errors import ConfigurationError, Retryable

_TLS_1_2_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"

_FAILURES = {
    "HTTP_REQUEST": "no-tls",
    "WRONG_VERSION_NUMBER": "no-tls",
    "PACKET_LENGTH_TOO_LONG": "no-tls",
    "RECORD_LAYER_FAILURE": "no-tls",
    "UNKNOWN_PROTOCOL": "no-tls",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no-certificate",
    "UNSUPPORTED_PROTOCOL": "tls-too-old",
    "NO_SHARED_CIPHER": "tls-too-old",
    "VERSION_TOO_LOW": "tls-too-old",
}
_TEXTS = {
    "no-tls": "it does not speak TLS on this port",
    "tls-too-old": "it speaks no TLS 1.2 with authenticated encryption",
    "certificate-expired": "its certificate has expired",
    "certificate-not-yet-valid": "its certificate is not valid yet: is a clock wrong?",
    "unknown-authority": "its certificate was signed by none of the authorities of ca_file",
    "certificate-of-another": "its certificate is for another name: call it by that, or set server_name",
    "certificate-refused": "its certificate can not be verified",
    "own-certificate-refused": "it refuses qcnode's certificate: set certificate_file, or let it trust the authority that signed it",
    "handshake-ended": "it ended the handshake",
}
_ALERT_SECONDS = 0.3
_CERTIFICATE_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED
_CERTIFICATE_NOT_YET_VALID = 9
_OF_ANOTHER = (62, 64)  # host name, IP address
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)  # no issuer found, self-signed, or a chain that ends nowhere


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What an administrator wants to know of a certificate."""

    subject: str
    not_after: datetime


def listener_context(settings: ListenerTls, section: str) -> ssl.SSLContext:
    """For a DICOM listener with TLS. `section`: of config.yaml, where the settings are. Raises ConfigurationError."""
    context = server_context(settings, section)
    if settings.client_certificates == "required":
        _trust(context, settings.ca_file, section)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def server_context(settings: Certificate, section: str) -> ssl.SSLContext:
    """For who is called and does not ask for the caller's certificate. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    show_certificate(context, settings, section)
    return context


def client_context(settings: DestinationTls, section: str) -> ssl.SSLContext:
    """For associations that qcnode makes: the peer's certificate and name are always verified. Raises ConfigurationError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context)
    if settings.ca_file is None:
        context.load_default_certs()
    else:
        _trust(context, settings.ca_file, section)
    if settings.certificate_file is not None:
        show_certificate(context, settings, section)
    return context


def certificate_facts(file: Path, section: str) -> CertificateFacts:
    """Of the first certificate in a PEM file. Raises ConfigurationError."""
    leaf = _certificates(file, f"{section}.certificate_file")[0]
    return CertificateFacts(leaf.subject.rfc4514_string(), leaf.not_valid_after_utc)


def names_in_certificate(connection: ssl.SSLSocket) -> frozenset[str]:
    """The peer's names: common names, and DNS names and addresses of the Subject Alternative Name; none without a verified certificate."""
    shown: Any = connection.getpeercert() or {}
    subject = {value for part in shown.get("subject", ()) for key, value in part if key == "commonName"}
    return frozenset(subject | {value for kind, value in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")})


def probe(address: tuple[str, int], context: ssl.SSLContext, server_name: str, timeout_seconds: float) -> str:
    """Shake hands and hang up: a line about what was agreed on. Raises Retryable with what is wrong, as an administrator sees it."""
    try:
        with (
            socket.create_connection(address, timeout_seconds) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as connection,
        ):
            shown: Any = connection.getpeercert()
            agreed = connection.version()
            _await_alert(connection)
    except ssl.SSLError as error:
        raise Retryable(_TEXTS[failure_kind(error)]) from error
    except OSError as error:
        raise Retryable(f"no connection: {error.strerror or error}") from error
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)
    return f"{agreed}, its certificate is valid until {until:%Y-%m-%d}"


def _await_alert(connection: ssl.SSLSocket) -> None:
    """In TLS 1.3 who calls is ready before the other side has looked at its certificate: a refusal comes after the handshake."""
    connection.settimeout(_ALERT_SECONDS)
    try:
        if not connection.recv(1):
            raise ssl.SSLEOFError
    except TimeoutError:
        return  # it waits for us


def failure_kind(error: OSError) -> str:
    """Why a handshake failed, as a word: no-tls, no-certificate, certificate-expired, unknown-authority, ... or handshake-ended."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _CERTIFICATE_EXPIRED:
            return "certificate-expired"
        if error.verify_code == _CERTIFICATE_NOT_YET_VALID:
            return "certificate-not-yet-valid"
        if error.verify_code in _OF_ANOTHER:
            return "certificate-of-another"
        return "unknown-authority" if error.verify_code in _UNKNOWN_AUTHORITY else "certificate-refused"
    reason = getattr(error, "reason", None) or ""
    if "ALERT" in reason:
        return "own-certificate-refused" if any(word in reason for word in ("CERTIFICATE", "UNKNOWN_CA")) else "handshake-ended"
    return _FAILURES.get(reason, "handshake-ended")


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS_1_2_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET


def show_certificate(context: ssl.SSLContext, settings: Certificate, section: str) -> None:
    """Load certificate and key into a context, also one that is in use: who comes next sees them. Raises ConfigurationError.

    The texts say what to do; OpenSSL's own do not.
    """
    if settings.certificate_file is None:
        raise ConfigurationError(f"{section}.certificate_file is missing")
    password = settings.password(section)
    key_file = settings.private_key_file or settings.certificate_file
    leaf = _certificates(settings.certificate_file, f"{section}.certificate_file")[0]
    where = f"{section}.private_key_file"
    try:
        key = load_pem_private_key(_read(key_file, where), password.encode() if password is not None else None)
    except TypeError as error:
        needed = "needs a password: set password_file or password_env" if password is None else "has no password: take it away"
        raise ConfigurationError(f"{where}: the key in {key_file.name} {needed}") from error
    except ValueError as error:
        raise ConfigurationError(f"{where}: {key_file.name} holds no private key (PEM), or the password is wrong") from error
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != leaf.public_key().public_bytes(*form):
        raise ConfigurationError(f"{where}: the key in {key_file.name} is not that of the certificate in {settings.certificate_file.name}")
    try:
        context.load_cert_chain(settings.certificate_file, key_file, password or "")
    except ssl.SSLError as error:
        raise ConfigurationError(f"{section}: certificate and key can not be used: {error.reason}") from error


def _trust(context: ssl.SSLContext, ca_file: Path | None, section: str) -> None:
    where = f"{section}.ca_file"
    if ca_file is None:
        raise ConfigurationError(f"{where} is missing")
    _certificates(ca_file, where)
    context.load_verify_locations(ca_file)


def _certificates(file: Path, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(file, where))
    except ValueError as error:
        raise ConfigurationError(f"{where}: {file.name} holds no certificate (PEM)") from error


def _read(file: Path, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{where}: {file} can not be read: {error.strerror}") from error
