"""The same phantom study again and again, each time with UIDs of its own, fast enough to load a node."""

import re
from io import BytesIO

from pydicom import Dataset, dcmread
from pynetdicom import AE

from qcnode.demo.phantom_dicom import phantom_study

SEED = 7
_NUMBER_DIGITS = 8
_UID = re.compile(rb"2\.25\.[0-9]{20,39}")


class FreshStudies:
    """Study `number` is the phantom with the last digits of each of its UIDs replaced by the number: as long as before, so that bytes can
    be put in their place, and unique, as the digits before them are."""

    def __init__(self) -> None:
        study = phantom_study(SEED, phases=1, phase=0)
        self._files = [_encoded(dataset) for dataset in (*study.images, study.queries[1].dataset)]
        self._study_instance_uid = str(study.study.study_instance_uid)
        stems = {uid[:-_NUMBER_DIGITS] for file in self._files for uid in _UID.findall(file)}
        assert len(stems) == len({uid for file in self._files for uid in _UID.findall(file)}), "two UIDs would become one"

    def study_instance_uid(self, number: int) -> str:
        """The Study Instance UID of study `number`."""
        return f"{self._study_instance_uid[:-_NUMBER_DIGITS]}{number:0{_NUMBER_DIGITS}d}"

    def objects(self, number: int) -> list[Dataset]:
        """Images and query SEG of study `number`."""
        digits = f"{number:0{_NUMBER_DIGITS}d}".encode()
        return [dcmread(BytesIO(_UID.sub(lambda found: found[0][:-_NUMBER_DIGITS] + digits, file))) for file in self._files]


def send(objects: list[Dataset], port: int, called_ae_title: str) -> None:
    """Store them on this machine in one association. Raises ConnectionError where one was not taken."""
    entity = AE("SENDER")
    for sop_class, syntax in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in objects}:
        entity.add_requested_context(sop_class, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called_ae_title)
    if not association.is_established:
        raise ConnectionError("no association")
    try:
        for dataset in objects:
            status = association.send_c_store(dataset).get("Status")
            if status != 0x0000:
                raise ConnectionError(f"answered {status}")
    finally:
        association.release()


def _encoded(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
