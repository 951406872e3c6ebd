"""What the small archive holds, how it is searched, and the log of what was sent to it. No network here; pacs.py is the archive."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.uid import UID

STORE_LOG = "c-store.jsonl"

_LEVEL_KEYS = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_NOT_MATCHED = ("QueryRetrieveLevel", "SpecificCharacterSet", "TimezoneOffsetFromUTC")
_COUNTED = ("NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances", "ModalitiesInStudy")


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """One C-STORE as it was received; `sha256` is of the data set's bytes without the file meta information."""

    time: str
    calling_ae_title: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Held:
    """An object in the archive: its file and its elements without the pixels."""

    path: Path
    header: Dataset

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return str(self.header.SOPInstanceUID)

    @property
    def context(self) -> tuple[UID, UID]:
        """SOP class and transfer syntax, to send it as it is."""
        return self.header.SOPClassUID, self.header.file_meta.TransferSyntaxUID


class Holdings:
    """Objects in a folder, in the order of arrival. Safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open a folder and what it already holds; it is made where it is missing."""
        self._folder = folder
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.dcm"), key=lambda p: p.stat().st_mtime_ns):
            self._hold(path)

    def write(self, sop_instance_uid: str, encoded: bytes) -> Path:
        """Keep a DICOM file. The first object of a SOP Instance UID stays, whatever comes later: so do real archives."""
        with self._lock:
            if sop_instance_uid in self._held:
                return self._held[sop_instance_uid].path
            path = self._folder / f"{sha256(sop_instance_uid.encode()).hexdigest()[:32]}.dcm"
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(encoded)
            unfinished.replace(path)
            return self._hold(path)

    def record(self, record: StoreRecord) -> None:
        """Write down a C-STORE; it is on disk when this returns."""
        with self._lock, (self._folder / STORE_LOG).open("a") as log:
            log.write(json.dumps(asdict(record)) + "\n")
            log.flush()
            os.fsync(log.fileno())

    def of_study(self, study_instance_uid: str | None) -> list[Held]:
        """The objects of a study, or of all."""
        with self._lock:
            return [h for h in self._held.values() if study_instance_uid in (None, h.header.StudyInstanceUID)]

    def path_of(self, sop_instance_uid: str) -> Path | None:
        """The file of an object, None where it is not held."""
        with self._lock:
            held = self._held.get(sop_instance_uid)
        return held.path if held else None

    def matching(self, identifier: Dataset) -> list[Held]:
        """The objects that a C-FIND, C-MOVE or C-GET identifier asks for."""
        return [h for h in self.of_study(None) if all(_matches(h.header, element) for element in identifier)]

    def answers(self, identifier: Dataset) -> list[Dataset] | None:
        """Answers to a Study Root C-FIND, one for each study, series or instance; None where the level is not known."""
        key = _LEVEL_KEYS.get(identifier.get("QueryRetrieveLevel", ""))
        if key is None:
            return None
        groups: dict[str, list[Dataset]] = {}
        for held in self.matching(identifier):
            groups.setdefault(held.header[key].value, []).append(held.header)
        return [self._answer(identifier, headers, key) for headers in groups.values()]

    def _hold(self, path: Path) -> Path:
        held = Held(path, dcmread(path, stop_before_pixels=True))
        self._held[held.sop_instance_uid] = held
        return path

    def _answer(self, identifier: Dataset, headers: list[Dataset], key: str) -> Dataset:
        answer = Dataset()
        answer.SpecificCharacterSet = "ISO_IR 192"
        answer.QueryRetrieveLevel = identifier.QueryRetrieveLevel
        wanted = {element.keyword for element in identifier if element.keyword and element.keyword not in _NOT_MATCHED} | {key}
        for keyword in sorted(wanted):
            if keyword in _COUNTED:
                setattr(answer, keyword, self._count(keyword, headers[0]))
            else:
                values = [h[keyword].value for h in headers if keyword in h]
                setattr(answer, keyword, values[0] if values else None)
        return answer

    def _count(self, keyword: str, header: Dataset) -> int | list[str]:
        study = [h.header for h in self.of_study(header.StudyInstanceUID)]
        if keyword == "ModalitiesInStudy":
            return sorted({str(h.get("Modality", "")) for h in study})
        if keyword == "NumberOfStudyRelatedSeries":
            return len({h.SeriesInstanceUID for h in study})
        if keyword == "NumberOfStudyRelatedInstances":
            return len(study)
        return len([h for h in study if h.SeriesInstanceUID == header.SeriesInstanceUID])


def read_store_log(folder: Path) -> list[StoreRecord]:
    """The C-STOREs that the archive of this folder has written down; a last line cut off by a crash is left out."""
    path = folder / STORE_LOG
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [StoreRecord(**json.loads(line)) for line in lines]


def _matches(header: Dataset, element: DataElement) -> bool:
    """Universal, single value, list of UID, wild card and range matching (PS3.4 section C.2.2.2)."""
    if element.keyword in (*_NOT_MATCHED, *_COUNTED) or element.VR == "SQ" or element.is_empty:
        return True
    value = str(header.get(element.keyword, ""))
    wanted = [str(v) for v in element.value] if isinstance(element.value, MultiValue) else [str(element.value)]
    if element.VR in ("DA", "TM", "DT") and "-" in wanted[0]:
        first, last = wanted[0].split("-", 1)
        return (not first or value >= first) and (not last or value <= last)
    if element.VR == "UI":
        return value in wanted
    return any(fnmatchcase(value.upper(), w.upper().replace("[", "[[]")) for w in wanted)
