"""The whole road with an archive in it: a study is stored, forwarded, judged, answered, and forwarded back."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import archive as orthanc
import numpy as np
import numpy.typing as npt
import served_node
from archive import Archive
from pydicom import Dataset
from served_node import ServedNode
from waiting import wait_for

from qcnode.outcome import Outcome

JUDGED_SECONDS = 240


@contextmanager
def running(folder: Path, forward: str, kind: str, *, key_object: bool = False, **sections: Any) -> Iterator[tuple[Archive, ServedNode]]:
    """An archive with a forwarding rule (Lua) and a node that answers it by `kind`, each in its own process."""
    archive = Archive(folder / "archive", forward)
    try:
        address: dict[str, Any] = {"ae_title": orthanc.AE_TITLE, "host": "127.0.0.1", "port": archive.dicom_port}
        destination = {"name": "pacs", "kind": kind, "key_object": key_object} | (
            address if kind == "c-store" else {"url": archive.dicomweb_url}
        )
        node = ServedNode(folder / "node", {"destinations": [destination]} | sections)
        try:
            archive.knows_node(served_node.AE_TITLE, node.port)
            yield archive, node
        finally:
            node.stop()
    finally:
        archive.stop()


@dataclass
class Road:
    """An archive that forwards to a node, which answers it. `queries` maps names to the SOP Instance UIDs of the SEGs sent so far."""

    archive: Archive
    node: ServedNode
    study_instance_uid: str
    images: Sequence[Dataset]
    queries: dict[str, str] = field(default_factory=dict)

    def send(self, folder: Path, **queries: Dataset) -> None:
        """Store the images (the first time) and SEGs in the archive and wait until every answer is there."""
        folder.mkdir(parents=True, exist_ok=True)
        for i, dataset in enumerate((*(() if self.queries else self.images), *queries.values())):
            dataset.save_as(folder / f"{i:04}.dcm", enforce_file_format=True)
        self.archive.upload(folder)
        self.queries |= {name: str(dataset.SOPInstanceUID) for name, dataset in queries.items()}
        wait_for(self._all_judged, JUDGED_SECONDS, "verdicts", explain=self._explain)
        wait_for(self.node.has_answered, 60, "deliveries", explain=self._explain)

    def outcome(self, query: str) -> Outcome:
        """verdict.json of a query by its name."""
        return self.node.outcomes()[self.queries[query]]

    def answer(self, query: str, kind: str) -> Dataset:
        """A result of a query ("report", "error_map", "summary"), read from the archive with WADO-RS."""
        (written,) = (o for o in self.outcome(query).objects if o.kind == kind)
        web = self.archive.dicomweb
        (found,) = web.search_for_instances(
            self.study_instance_uid, search_filters={"SOPInstanceUID": written.sop_instance_uid}, fields=["SeriesInstanceUID"]
        )
        series = str(Dataset.from_json(found).SeriesInstanceUID)
        return web.retrieve_instance(self.study_instance_uid, series, written.sop_instance_uid)

    def wait_for_echo(self) -> None:
        """Wait until the archive has forwarded the node's own answers to it, and the time in which it would judge them is over."""
        expected = {o.sop_instance_uid for outcome in self.node.outcomes().values() for o in outcome.objects}
        wait_for(lambda: expected <= self._forwarded(), 60, "the archive to forward the answers", explain=self._explain)
        time.sleep(10)

    def _forwarded(self) -> set[str]:
        """SOP Instance UIDs of what the archive's finished jobs sent."""
        sent: set[str] = set()
        for job in self.archive.jobs():
            assert job["State"] != "Failure", f"the archive could not forward: {job}"
            if job["State"] == "Success" and job["Type"] == "DicomModalityStore":
                for resource in job["Content"]["ParentResources"]:
                    series = self.archive.rest("GET", f"/series/{resource}/instances")
                    sent |= {instance["MainDicomTags"]["SOPInstanceUID"] for instance in series}
        return sent

    def _all_judged(self) -> bool:
        return set(self.queries.values()) <= set(self.node.outcomes())

    def _explain(self) -> str:
        return f"{self.node.run('status').stdout}\n{self.node.log_tail()}\n{self.archive.log_tail()}"


def voxels(error_map: Dataset, images: Iterable[Dataset]) -> dict[str, npt.NDArray[np.bool_]]:
    """Voxels (z, y, x) of a BINARY SEG by segment label; z is the place in `images` of the image that each frame names as its source.

    Written without qcnode's own reader. Fails where a frame does not lie where its source image lies.
    """
    places = {str(image.SOPInstanceUID): (z, image) for z, image in enumerate(images)}
    frames = np.asarray(error_map.pixel_array, bool).reshape(-1, error_map.Rows, error_map.Columns)
    labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in error_map.SegmentSequence}
    found = {label: np.zeros((len(places), error_map.Rows, error_map.Columns), bool) for label in labels.values()}
    for frame, group in zip(frames, error_map.PerFrameFunctionalGroupsSequence, strict=True):
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        z, image = places[str(source.ReferencedSOPInstanceUID)]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(position, image.ImagePositionPatient, atol=1e-3), "a frame does not lie where its source lies"
        found[labels[int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)]][z] |= frame
    return found
