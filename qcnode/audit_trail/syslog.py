"""Syslog for audit messages: RFC 5424 lines over UDP (RFC 5426), TCP (RFC 6587, octets counted) or TLS (RFC 5425); PS3.15 A.6."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import datetime

from qcnode.config import AuditLog
from qcnode.errors import ConfigurationError

_PRIORITY = 10 * 8 + 5  # facility security/authorization, severity notice
_MESSAGE_ID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"


def syslog_line(xml: bytes, at: datetime, host: str) -> bytes:
    """The message as a syslog line."""
    time = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"<{_PRIORITY}>1 {time} {host} qcnode {os.getpid()} {_MESSAGE_ID} - ".encode() + _BOM + xml


class SyslogSender:
    """Sends lines to the receiver. A connection is kept, and opened again when the receiver has closed it."""

    def __init__(self, settings: AuditLog) -> None:
        """Raises ConfigurationError where certificates can not be read."""
        self._settings = settings
        self._address = (settings.host or "", settings.port)
        self._context = _tls(settings) if settings.transport == "tls" else None
        self._connection: socket.socket | None = None

    def send(self, line: bytes) -> None:
        """Hand one line over. Raises OSError; syslog has no answers, so that over TCP and TLS the last one before may be lost, too."""
        if self._settings.transport == "udp":
            family = socket.getaddrinfo(*self._address, type=socket.SOCK_DGRAM)[0][0]
            with socket.socket(family, socket.SOCK_DGRAM) as datagram:
                datagram.sendto(line, self._address)
            return
        try:
            if self._connection is not None and _has_ended(self._connection):
                self.close()
            self._connection = self._connection or self._connect()
            self._connection.sendall(b"%d " % len(line) + line)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(self._address, self._settings.timeout_seconds)
        if self._context is None:
            return plain
        try:
            return self._context.wrap_socket(plain, server_hostname=self._settings.host)
        except BaseException:
            plain.close()
            raise


def _has_ended(connection: socket.socket) -> bool:
    """Receivers never say anything: what can be read is the end."""
    connection.settimeout(0)
    try:
        return connection.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _tls(settings: AuditLog) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.private_key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"audit_log: certificates can not be read: {error.strerror or type(error).__name__}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
