"""The road of one mutant over a folder, as `qcnode assess` walks it, in a process that may die.

Reads seeds, answers each with a line of JSON. The network is replaced by one that says 0.9 of everything.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from corpus import Corpus, make_corpus
from mutants import Mutant, make_mutant
from said_predictor import MARGIN, SaidPredictor, prediction

from qcnode import pipeline
from qcnode.case import FrameRef, Prediction
from qcnode.config import Logging
from qcnode.directory import assess_directory, find_headers
from qcnode.errors import Rejected, where
from qcnode.headers import read_header
from qcnode.imaging.grid import Grid
from qcnode.imaging.read_seg import read_segmentation
from qcnode.imaging.read_series import read_series
from qcnode.ingest.matching import ContrastRule, TaskRule
from qcnode.judging.here import JudgeHere
from qcnode.observe.logging import set_up_logging
from qcnode.pipeline import Judge
from qcnode.report.results import write_results

ADDRESS_SPACE = 12 * 2**30
"""Bytes of virtual memory: what an absurd allocation runs into. The resident memory is what the watcher bounds."""

_GRID = Grid((3, 64, 64), (8.0, 1.5, 1.5), (0.0, 0.0, 0.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


class CheapPredictor(SaidPredictor):
    """Says 0.9, with an error in the middle of the volume."""

    def __init__(self) -> None:
        super().__init__(prediction(0.9))

    def predict(self, contrasts, query) -> Prediction:
        assert all(np.isfinite(volume.array).all() for volume in contrasts.values())
        errors = np.zeros(query.shape, bool)
        errors[0, query.shape[1] // 2, query.shape[2] // 2, query.shape[3] // 2] = True
        said = self.said
        assert isinstance(said, Prediction)
        return Prediction(said.predicted_dsc, 0.8, 2.0, dict(said.per_tissue_dsc), errors, said.tissues, "CPU")


def cardiac_task() -> tuple[TaskRule, JudgeHere]:
    """The cardiac task, judged by the cheap predictor."""
    judge = Judge(CheapPredictor(), MARGIN)
    card = judge.predictor.card
    rule = TaskRule("cardiac-sax", card.structure_list(), card.tissue_list(), (ContrastRule("cine"),))
    return rule, JudgeHere({"cardiac-sax": judge}, "1")


def walk(mutant: Mutant, folder: Path, task: tuple[TaskRule, JudgeHere], *, report: bool) -> str:
    """What became of the mutant, as a verdict and a code. Raises what no reader turned into a coded reason."""
    incoming = folder / "in"
    incoming.mkdir(parents=True)
    for number, content in enumerate(mutant.files):
        (incoming / f"{number:02d}.dcm").write_bytes(content)
    path = incoming / f"{len(mutant.files) - 1:02d}.dcm"
    found = find_headers(incoming)
    pipeline.write_results = write_results if report else lambda inputs, directory, announce=False: ()
    rule, judge = task
    outcomes = assess_directory(found, folder / "out", [rule], judge, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    try:
        header = read_header(path)
    except Rejected as rejection:
        return f"unreadable: {rejection.reason.code}"
    if mutant.place is None:
        return _read_alone(path)
    if header.kind not in ("image", "seg"):
        return f"kept: {header.kind}"
    said = [outcome for outcome in outcomes if header.kind == "image" or outcome.query.sop_instance_uid == header.sop_instance_uid]
    return f"{said[0].verdict}: {said[0].reasons[0].code}" if said else f"kept: {header.kind} of another study"


def _read_alone(path: Path) -> str:
    """An object that no SEG of the study refers to: its pixels are read all the same."""
    header = read_header(path)
    try:
        if header.kind == "image":
            read_series([FrameRef(path, header.sop_instance_uid, f.frame_number) for f in header.frames])
        elif header.kind in ("seg", "labelmap"):
            read_segmentation(path, _GRID)
        else:
            return f"kept: {header.kind}"
    except Rejected as rejection:
        return f"read: {rejection.reason.code}"
    return "read: whole"


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def _answer(corpus: Corpus, seed: int, folder: Path, task: tuple[TaskRule, JudgeHere], share: float) -> dict[str, object]:
    mutant = make_mutant(corpus, seed)
    _forget_peak()
    began, worked = time.monotonic(), time.process_time()
    uncoded = None
    try:
        ending = walk(mutant, folder, task, report=random.Random(seed).random() < share)
    except Exception as error:  # noqa: BLE001  it is the defect that is looked for
        ending, uncoded = "uncoded", where(error)
    seconds, cpu_seconds = round(time.monotonic() - began, 3), round(time.process_time() - worked, 3)
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "seed": seed,
        "mutation": mutant.mutation,
        "origin": mutant.origin,
        "ending": ending,
        "uncoded": uncoded,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mb": _peak_mb(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--reports", type=float, default=0.1)
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    set_up_logging(Logging())
    corpus, task = make_corpus(arguments.real), cardiac_task()
    sys.stdout.write(json.dumps({"peak_mb": _peak_mb()}) + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        answer = _answer(corpus, int(line), arguments.folder / line.strip(), task, arguments.reports)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
