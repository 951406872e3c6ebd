"""The archive at the other end of an association: how it is called, and how it is asked (Study Root C-FIND)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from qcnode.config import CStoreDestination
from qcnode.errors import ConfigurationError, Retryable
from qcnode.tls import client_context, probe

PENDING = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES = 0xA700


class DicomPeer:
    """One archive; an association per call, unless it is `kept_open`. Safe to use from several threads."""

    def __init__(self, settings: CStoreDestination, ae_title: str) -> None:
        """`ae_title` is our own, by which the archive knows us. Raises ConfigurationError where certificates and keys can not be used."""
        self.name = settings.name
        self.ae_title = ae_title
        self.where = f"{settings.ae_title} at {settings.host}:{settings.port}"
        self._settings = settings
        self._kept: dict[tuple[str, ...], Association] | None = None
        self._tls_arguments()

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Until the end, an association stays open and is used again for the same questions: for one thread that asks many times."""
        kept: dict[tuple[str, ...], Association] = {}
        self._kept = kept
        try:
            yield
        finally:
            self._kept = None
            for association in kept.values():
                _release(association)

    @contextmanager
    def association(
        self,
        contexts: Sequence[PresentationContext],
        *,
        roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Association]:
        """An association, released at the end; with no accepted contexts where the archive accepted it but nothing in it.

        `handlers`: (event, function) pairs, bound from the beginning. Raises Retryable.
        """
        kept, asked = self._kept, tuple(str(context.abstract_syntax) for context in contexts)
        association = None if kept is None else kept.pop(asked, None)
        if association is None or not association.is_established:
            association = self._associate(contexts, roles, handlers)
        else:
            for event, function in handlers:
                association.bind(event, function)
        try:
            yield association
        except BaseException:
            _release(association)
            raise
        if kept is None:
            _release(association)
        else:
            kept[asked] = association

    def _associate(
        self, contexts: Sequence[PresentationContext], roles: Sequence[SCP_SCU_RoleSelectionNegotiation], handlers: Sequence[Any]
    ) -> Association:
        entity = AE(ae_title=self.ae_title)
        where = self._settings
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = where.timeout_seconds
        try:
            tls = self._tls_arguments()
        except ConfigurationError as error:  # the files have changed since the start, and may be whole again next time
            raise Retryable(str(error)) from error
        association = entity.associate(
            where.host, where.port, list(contexts), ae_title=where.ae_title, ext_neg=list(roles), evt_handlers=list(handlers), tls_args=tls
        )
        nothing_accepted = association.is_aborted and bool(association.rejected_contexts)
        if not association.is_established and not nothing_accepted:
            how = "rejected" if association.is_rejected else "not established"
            raise Retryable(f"{self.name}: association with {self.where} {how}")
        return association

    def find(self, identifier: Dataset) -> list[Dataset] | None:
        """Answers; None where the archive does not query, or fails to. Raises Retryable."""
        with self.association([build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
            if not association.accepted_contexts:
                return None
            found = []
            for status, answer in association.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind):
                if "Status" not in status:
                    raise Retryable(f"{self.name}: no answer to C-FIND, or the association was aborted")
                if status.Status in PENDING and answer is not None:
                    found.append(answer)
                elif is_out_of_resources(status.Status):
                    raise Retryable(f"{self.name}: status {status.Status:04X}H for C-FIND")
                elif status.Status != 0x0000:
                    return None
            return found

    def probe_tls(self) -> str | None:
        """A line about what a TLS handshake agrees on; None without TLS. Raises ConfigurationError, or Retryable with what is wrong."""
        tls = self._tls_arguments()
        where = self._settings
        return None if tls is None else probe((where.host, where.port), *tls, where.timeout_seconds)

    def _tls_arguments(self) -> tuple[ssl.SSLContext, str] | None:
        """Certificates are read for every association, so that renewed ones are used without a restart. Raises ConfigurationError."""
        tls = self._settings.tls
        if not tls.enabled:
            return None
        return client_context(tls, f"destination {self.name}: tls"), tls.server_name or self._settings.host


def _release(association: Association) -> None:
    if association.is_established:
        association.release()


def is_out_of_resources(status: int) -> bool:
    """A7xxH: the peer may be able to do it later (PS3.4 tables B.2-1, C.4-1, C.4-3)."""
    return _OUT_OF_RESOURCES <= status <= _OUT_OF_RESOURCES + 0xFF
