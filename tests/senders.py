"""A sender for tests: what a PACS's forward job meets, object by object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dicom_objects import mr_slice
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import MRImageStorage, Verification

STORED, OUT_OF_RESOURCES = 0x0000, 0xA700


def small_mr(number: int, study: str = "2.25.1", rows: int = 8) -> Dataset:
    """An MR instance of its own UID; `rows` by `rows` pixels of 16 bits."""
    pixels = np.arange(rows * rows, dtype=np.uint16).reshape(rows, rows)
    dataset = mr_slice(pixels, (0.0, 0.0, float(number)), sop_instance_uid=f"2.25.1{number:05d}")
    dataset.StudyInstanceUID = study
    return dataset


@dataclass(frozen=True)
class Sender:
    """Calls the Storage SCP at `port`."""

    port: int
    seconds: float = 60

    def associate(self, *sop_classes: str) -> Association:
        """An association for these classes (MR where none is named), established or not."""
        entity = AE("PACS")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.seconds
        for sop_class in sop_classes or (MRImageStorage,):
            entity.add_requested_context(UID(sop_class), [ExplicitVRLittleEndian])
        return entity.associate("127.0.0.1", self.port)

    def send(self, *datasets: Dataset) -> list[int | None]:
        """The statuses of C-STOREs in one association; None where it ended before an answer came, or was never established."""
        association = self.associate(*dict.fromkeys(str(d.SOPClassUID) for d in datasets))
        statuses: list[int | None] = []
        for dataset in datasets:
            answer = association.send_c_store(dataset) if association.is_established else Dataset()
            statuses.append(int(answer.Status) if "Status" in answer else None)
        if association.is_established:
            association.release()
        return statuses

    def rejection(self, *sop_classes: str) -> tuple[int, int, int] | None:
        """Result, source and reason of the association's rejection (PS3.8 9.3.4); None where it is accepted."""
        association = self.associate(*sop_classes)
        if association.is_established:
            association.release()
            return None
        assert association.is_rejected, "neither accepted nor rejected"
        answer = association.acceptor.primitive
        return answer.result, answer.result_source, answer.diagnostic

    def echo(self) -> int:
        """The status of C-ECHO in an association that asks for nothing else."""
        association = self.associate(Verification)
        status = int(association.send_c_echo().Status)
        association.release()
        return status
