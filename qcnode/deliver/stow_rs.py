"""A PACS that is answered by STOW-RS, asked by QIDO-RS and read back by WADO-RS."""

from __future__ import annotations

import http
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from json import JSONDecodeError
from pathlib import Path
from typing import TypeVar

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from requests.auth import HTTPBasicAuth

from qcnode.config import StowDestination
from qcnode.deliver.destination import STUDY_KEYWORDS, CannotRetrieve, Check, DeliveryRefused, settle_status
from qcnode.errors import ConfigurationError, Retryable
from qcnode.headers.elements import BROKEN_ELEMENT

_Answer = TypeVar("_Answer")

# Of the door rather than of the object: the object is fine once an administrator has corrected the credentials, or after a while.
_COMES_BACK = (
    http.HTTPStatus.UNAUTHORIZED,
    http.HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
    http.HTTPStatus.REQUEST_TIMEOUT,
    http.HTTPStatus.TOO_MANY_REQUESTS,
)
_FAILURE_REASON_UNKNOWN = 0x0110
# What dicomweb-client and pydicom raise for an answer that is no multipart, or whose part is no DICOM file.
_UNREADABLE = (*BROKEN_ELEMENT, InvalidDicomError)


class _Refused(DeliveryRefused):
    """An HTTP status that does not go away."""

    def __init__(self, destination: str, status: int) -> None:
        super().__init__(f"{destination}: HTTP {status}")
        self.status = status


class StowRs:
    """A destination of kind stow-rs. Safe to use from several threads: every call has its own session, unless it is `kept_open`."""

    def __init__(self, settings: StowDestination) -> None:
        self.name = settings.name
        self._settings = settings
        self._kept: requests.Session | None = None

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """One session, which keeps its connections (Destination.kept_open)."""
        with requests.Session() as session:
            self._kept = session
            try:
                yield
            finally:
                self._kept = None

    def send(self, path: Path) -> None:
        """Store one file in its study (PS3.18 section 10.5). Raises Retryable or DeliveryRefused (Destination.send)."""
        try:
            dataset = dcmread(path)
        except (OSError, InvalidDicomError) as error:
            raise DeliveryRefused(f"{self.name}: a stored result can not be read ({type(error).__name__})") from error
        reply = self._ask(lambda client: client.store_instances([dataset], study_instance_uid=str(dataset.StudyInstanceUID)))
        self._settle_failures(reply, str(dataset.SOPInstanceUID))

    def check(self) -> list[Check]:
        """One QIDO-RS request: address, certificate, credentials. Whether STOW-RS is allowed shows only when something is stored."""
        name = f"{self.name}: QIDO-RS"
        try:
            self._ask(lambda client: client.search_for_studies(limit=1))
        except (Retryable, DeliveryRefused, ConfigurationError) as error:
            return [Check(name, False, str(error), f"is {self._settings.url} up, and are url, username, password and ca_file right?")]
        return [Check(name, True, self._settings.url)]

    def series_instance_count(self, study_instance_uid: str, series_instance_uid: str) -> int | None:
        """As the archive counts, or as it lists them where it does not count. Raises Retryable."""

        def series(client: DICOMwebClient) -> list[dict[str, dict[str, object]]]:
            return list(
                client.search_for_series(
                    study_instance_uid,
                    fields=["NumberOfSeriesRelatedInstances"],
                    search_filters={"SeriesInstanceUID": series_instance_uid},
                )
            )

        for answer in map(Dataset.from_json, self._search(series)):
            if answer.get("SeriesInstanceUID") != series_instance_uid:
                continue
            count = answer.get("NumberOfSeriesRelatedInstances")
            if count:  # 0 is what archives say that do not count
                return int(count)
            return len(self.instances(study_instance_uid, series_instance_uid) or ()) or None
        return None

    def instances(self, study_instance_uid: str, series_instance_uid: str) -> tuple[str, ...] | None:
        """By QIDO-RS, a page at a time until nothing is new: some archives do not know of pages. Raises Retryable."""
        found: set[str] = set()
        try:
            while new := self._page(study_instance_uid, series_instance_uid, len(found)) - found:
                found |= new
        except _Refused as error:
            if not found and error.status != http.HTTPStatus.NOT_FOUND:
                return None
        return tuple(sorted(found))

    def _page(self, study_instance_uid: str, series_instance_uid: str, offset: int) -> set[str]:
        page = self._ask(lambda client: client.search_for_instances(study_instance_uid, series_instance_uid, offset=offset or None))
        return {str(d.SOPInstanceUID) for d in map(Dataset.from_json, page) if d.get("SOPInstanceUID")}

    def retrieve(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset | None:
        """By WADO-RS, uncompressed (PS3.18 section 10.4). Where nothing is found, QIDO-RS says whether it is there."""
        if self._settings.read_back == "none":
            raise CannotRetrieve(f"{self.name}: read_back is none")
        try:
            found: Dataset = self._ask(lambda client: client.retrieve_instance(study_instance_uid, series_instance_uid, sop_instance_uid))
            return found
        except _Refused as error:
            if error.status != http.HTTPStatus.NOT_FOUND:
                raise CannotRetrieve(f"{self.name}: HTTP {error.status} for WADO-RS") from error
            if sop_instance_uid in (self.instances(study_instance_uid, series_instance_uid) or ()):
                raise CannotRetrieve(f"{self.name}: lists the object, and HTTP 404 for WADO-RS") from error
            return None
        except _UNREADABLE as error:
            raise Retryable(f"{self.name}: the answer to WADO-RS can not be read ({type(error).__name__})") from None

    def study_attributes(self, study_instance_uid: str) -> Dataset | None:
        """By QIDO-RS; elements that the archive does not return are absent. Raises Retryable."""
        found = self._search(
            lambda client: client.search_for_studies(fields=list(STUDY_KEYWORDS), search_filters={"StudyInstanceUID": study_instance_uid})
        )
        for answer in map(Dataset.from_json, found):
            if answer.get("StudyInstanceUID") == study_instance_uid:
                return answer
        return None

    def _search(self, question: Callable[[DICOMwebClient], list[dict[str, dict[str, object]]]]) -> list[dict[str, dict[str, object]]]:
        """Answers; none where the archive does not query, or not for us: that must not keep results from being delivered."""
        try:
            return self._ask(question)
        except DeliveryRefused:
            return []

    def _ask(self, question: Callable[[DICOMwebClient], _Answer]) -> _Answer:
        try:
            with nullcontext(self._kept) if self._kept is not None else requests.Session() as session:
                return question(self._client(session))
        except requests.HTTPError as error:
            raise self._of_http_status(error.response.status_code if error.response is not None else 500) from error
        except (requests.RequestException, JSONDecodeError) as error:
            # the exception's own text may hold the URL with a password in it
            raise Retryable(f"{self.name}: {type(error).__name__}") from error

    def _client(self, session: requests.Session) -> DICOMwebClient:
        settings = self._settings
        # proxies, .netrc and certificates of the environment are configuration read elsewhere than in config.yaml
        session.trust_env = False
        password = settings.password()
        if settings.username is not None:
            session.auth = HTTPBasicAuth(settings.username.encode(), (password or "").encode())
        if settings.ca_file is not None:
            if not settings.ca_file.is_file():
                raise ConfigurationError(f"destination {self.name}: ca_file is not there")
            session.verify = str(settings.ca_file)
        if settings.certificate_file is not None:
            session.cert = self._client_certificate(settings.certificate_file)
        client = DICOMwebClient(settings.url, session=session, timeout=settings.timeout_seconds)
        client.set_http_retry_params(retry=False)  # the outbox retries, and survives a restart
        return client

    def _client_certificate(self, certificate: Path) -> tuple[str, str]:
        key = self._settings.private_key_file or certificate
        for file in (certificate, key):
            if not file.is_file():
                raise ConfigurationError(f"destination {self.name}: {file} is not there")
        return str(certificate), str(key)

    def _of_http_status(self, status: int) -> Retryable | DeliveryRefused:
        broken = status >= http.HTTPStatus.INTERNAL_SERVER_ERROR and status != http.HTTPStatus.NOT_IMPLEMENTED
        if broken or status in _COMES_BACK:
            return Retryable(f"{self.name}: HTTP {status}")
        return _Refused(self.name, status)

    def _settle_failures(self, reply: Dataset, sop_instance_uid: str) -> None:
        """Some archives send an empty FailedSOPSequence with every success: only its items are failures."""
        for failure in reply.get("FailedSOPSequence") or ():
            settle_status(int(failure.get("FailureReason", _FAILURE_REASON_UNKNOWN)), self.name, sop_instance_uid)
        for stored in reply.get("ReferencedSOPSequence") or ():
            settle_status(int(stored.get("WarningReason", 0)), self.name, sop_instance_uid)
