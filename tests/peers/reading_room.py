"""A node that has judged phantom hearts and serves their pages; and what its DICOM objects say a page must show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from waiting import wait_for
from web_samples import PASSWORD

from qcnode.config import Config
from qcnode.demo.pacs import DemoPacs
from qcnode.demo.phantom import bad_query_missing_base, bad_query_shifted, make_phantom
from qcnode.demo.phantom_dicom import mr_series, seg_of
from qcnode.demo.scanner import Study
from qcnode.imaging.grid import Volume
from qcnode.imaging.read_seg import read_segmentation
from qcnode.node import Node
from qcnode.store.accounts import Accounts, Role
from qcnode.store.database import open_database
from qcnode.store.worklist import Item, Worklist
from qcnode.web.passwords import Passwords

READER = "meyer"
JUDGED_SECONDS = 300
# A double-oblique short axis: directions of the slices, of the rows from top to bottom, and of the columns from left to right, in LPS.
DOUBLE_OBLIQUE = ((0.6, 0.64, -0.48), (0.0, 0.6, 0.8), (0.8, -0.48, 0.36))

Segmentation = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class SentCase:
    """A volume (on its own grid) as MR images, one per slice, and a query SEG drawn on them."""

    study: Study
    volume: Volume
    images: Sequence[Dataset]
    drawn: Segmentation
    query: Dataset

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """The normal of the images, by Image Orientation (Patient): along it the slices of a stack follow one another."""
        return np.cross(self.row, self.column)

    @property
    def row(self) -> npt.NDArray[np.float64]:
        """The direction of a row of the images, towards the right edge of the picture."""
        return np.array(self.images[0].ImageOrientationPatient[:3], float)

    @property
    def column(self) -> npt.NDArray[np.float64]:
        """The direction of a column of the images, towards the bottom edge of the picture."""
        return np.array(self.images[0].ImageOrientationPatient[3:], float)

    @property
    def positions_mm(self) -> npt.NDArray[np.float64]:
        """Where each image lies along the normal, by Image Position (Patient)."""
        return np.array([np.dot(np.array(image.ImagePositionPatient, float), self.normal) for image in self.images])

    @property
    def order(self) -> list[int]:
        """Numbers of the images in the order of the stack: along the normal."""
        return [int(i) for i in np.argsort(self.positions_mm)]


def phantom_case() -> SentCase:
    """A phantom heart with a displaced segmentation."""
    phantom = make_phantom(7)
    return sent_case("phantom", phantom.volume, bad_query_shifted(phantom), "displaced")


def oblique_case() -> SentCase:
    """Another phantom heart in a double-oblique series, with a segmentation without its base."""
    phantom = make_phantom(3)
    volume = Volume(phantom.volume.array, replace(phantom.volume.grid, direction=DOUBLE_OBLIQUE))
    return sent_case("oblique", volume, bad_query_missing_base(phantom), "hasty", "PHANTOM^OBLIQUE")


def sent_case(seed: str, volume: Volume, drawn: Segmentation, segmenter: str, patient_name: str = "PHANTOM^ANNA") -> SentCase:
    """One phase of a series and its SEG; everything of it follows from the seed."""
    study = Study(f"reading room {seed}", patient_name, f"QCN-{seed.upper()}", f"A-{seed.upper()}")
    images = mr_series(volume, study)
    return SentCase(study, volume, images, drawn, seg_of(drawn, images, study, segmenter=segmenter))


@dataclass
class ReadingRoom:
    """The node's pages at `address`, and the cases that were sent to it."""

    folder: Path
    node: Node
    cases: dict[str, SentCase] = field(default_factory=dict)

    @property
    def storage(self) -> Path:
        return self.folder / "node"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.node.web_port}"

    def send(self, cases: dict[str, SentCase]) -> None:
        """Send cases to the node and wait until each is on the worklist."""
        with DemoPacs(self.folder / "archive") as archive:
            for case in cases.values():
                for dataset in (*case.images, case.query):
                    archive.keep(dataset)
                archive.forward(str(case.study.study_instance_uid), "QCNODE", "127.0.0.1", self.node.port)
        self.cases |= cases
        wanted = {str(case.query.SOPInstanceUID) for case in self.cases.values()}
        wait_for(lambda: wanted <= {item.query_sop_instance_uid for item in self._worklist()}, JUDGED_SECONDS, "every case on the worklist")

    def _worklist(self) -> list[Item]:
        database = open_database(self.storage)
        try:
            return Worklist(database).list()
        finally:
            database.close()

    @property
    def items(self) -> dict[str, Item]:
        """The items of the cases, under the same names."""
        by_query = {item.query_sop_instance_uid: item for item in self._worklist()}
        return {name: by_query[str(case.query.SOPInstanceUID)] for name, case in self.cases.items()}

    def errors(self, name: str) -> Segmentation:
        """The error map (tissue, z, y, x) of a case on the grid of its images, read from the DICOM object that the node wrote."""
        path = self.items[name].viewer_path
        assert path is not None
        read = read_segmentation(path.parent / "error_map.dcm", self.cases[name].volume.grid)
        assert len(read.masks) == len(self.cases[name].drawn), "a segment of errors for each tissue"
        return read.masks


@contextmanager
def reading_room(folder: Path, cases: dict[str, SentCase]) -> Iterator[ReadingRoom]:
    """Send the cases to a node, wait until each is on the worklist, and serve it while the `with` lasts."""
    settings = {
        "listen": {"port": 0},
        "storage": {"directory": str(folder / "node"), "minimum_free_mb": 1},
        "matching": {"quiet_seconds": 1},
        "review": {"random_pass_share": 0},
        "web": {"port": 0},
    }
    node = Node(Config.model_validate(settings))
    node.start()
    try:
        room = ReadingRoom(folder, node)
        database = open_database(room.storage)
        try:
            Accounts(database).add(READER, Passwords().hash(PASSWORD), Role.SUPERVISOR, by="test", now=datetime.now(UTC))
        finally:
            database.close()
        room.send(cases)
        yield room
    finally:
        node.stop()
