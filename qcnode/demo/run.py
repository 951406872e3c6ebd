"""`qcnode demo`: an archive, the node and a phantom study on this machine, from the study that goes in to the answers that come out."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from threading import Event

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from qcnode.assess.metrics import Agreement, Segmentation, agreement, error_map, error_map_dsc
from qcnode.case import Verdict
from qcnode.config import Config, CStoreDestination, Listen, Matching, ReviewSettings, Storage, Web
from qcnode.demo.browser import open_in_browser
from qcnode.demo.pacs import DemoPacs
from qcnode.demo.phantom_dicom import CARDIAC_TISSUES, PhantomQuery, PhantomStudy, phantom_study
from qcnode.headers import read_header
from qcnode.imaging.grid import Grid
from qcnode.imaging.read_seg import read_segmentation
from qcnode.node import Node
from qcnode.outcome import FILE_NAME, Outcome, read_outcome
from qcnode.store.accounts import Accounts, Role
from qcnode.store.database import open_database
from qcnode.store.worklist import Item, Worklist
from qcnode.web.passwords import Passwords

SEED = 7
TIME_LIMIT_SECONDS = 600.0

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.REVIEW: "yellow", Verdict.UNASSESSABLE: "magenta"}


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the node said of one query, and where the archive keeps the objects of it, by kind."""

    query: PhantomQuery
    expected: Verdict
    outcome: Outcome
    directory: Path
    in_archive: dict[str, Path]

    @property
    def is_as_expected(self) -> bool:
        needed = {"report", "error_map"} if self.expected is Verdict.FAIL else {"report"}
        return self.outcome.verdict is self.expected and needed <= self.in_archive.keys()


def run_demo(
    *,
    exit_at_end: bool,
    console: Console,
    folder: Path | None = None,
    seed: int = SEED,
    time_limit_seconds: float = TIME_LIMIT_SECONDS,
) -> int:
    """Run the demonstration in `folder`, or in a new temporary one; returns the exit code.

    Without `exit_at_end` the worklist is opened in the browser, where there is one, and everything stays until Ctrl-C.
    0: the good query passed, the bad ones failed, and report and error map of each are in the archive. 1: something else happened, or
    not all answers came within the time limit. Raises ConfigurationError where the installed weights do not work.
    """
    folder = folder or Path(mkdtemp(prefix="qcnode-demo-"))
    with console.status("drawing a phantom, starting an archive and the node"):
        study = phantom_study(seed)
        pacs = DemoPacs(folder / "archive")
        for dataset in (*study.images, *(q.dataset for q in study.queries)):
            pacs.keep(dataset)
        pacs.start()
        node = Node(_configuration(folder, pacs))
    try:
        with _ended_by_signals():
            node.start()
            code = _show_road(study, pacs, node, folder, console, time_limit_seconds)
            if not exit_at_end:
                _invite(pacs, node, _demo_account(folder), console)
                Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        node.stop()
        pacs.stop()
    return code


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends like Ctrl-C, and both do so also in a shell's background, where SIGINT is ignored otherwise."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _configuration(folder: Path, pacs: DemoPacs) -> Config:
    archive = CStoreDestination(name="demo-archive", kind="c-store", ae_title=pacs.ae_title, host=pacs.host, port=pacs.port)
    return Config(
        listen=Listen(port=0),
        storage=Storage(directory=folder / "node", minimum_free_mb=64),
        matching=Matching(quiet_seconds=3, archive=archive.name),
        destinations=(archive,),
        review=ReviewSettings(random_pass_share=0),
        web=Web(port=0),
    )


def _show_road(study: PhantomStudy, pacs: DemoPacs, node: Node, folder: Path, console: Console, time_limit_seconds: float) -> int:
    console.print(
        f"\nThe archive ({pacs.ae_title}, port {pacs.port}) forwards a cardiac MR of {len(study.images)} images and {len(study.queries)} "
        f"segmentations\nto the node (QCNODE, port {node.port}), which has no reference segmentation."
    )
    start = time.monotonic()
    sent = pacs.forward(str(study.study.study_instance_uid), "QCNODE", "127.0.0.1", node.port)
    if len(sent) < len(study.images) + len(study.queries):
        console.print(f"[red]the node acknowledged only {len(sent)} objects[/]; see {escape(str(folder))}")
        return 1
    with console.status("") as status:
        answers = _wait(study, pacs, folder, start + time_limit_seconds, lambda n: status.update(f"{n} of {len(study.queries)} answers"))
    seconds = time.monotonic() - start
    if len(answers) < len(study.queries):
        missing = ", ".join(q.segmenter for q in study.queries if q not in [a.query for a in answers])
        console.print(f"[red]after {seconds:.0f} s the archive has no complete answer for: {missing}[/]; see {escape(str(folder))}")
        return 1
    console.print(_answers_table(answers, study), "")
    console.print(f"All answers are in the archive, {seconds:.1f} s after the study was sent. Device: {answers[0].outcome.device}.\n")
    _show_worklist(folder, answers, console)
    _show_places(pacs, folder, answers, console)
    unexpected = [a.query.segmenter for a in answers if not a.is_as_expected]
    if unexpected:
        console.print(f"[red]not as expected: {', '.join(unexpected)}[/]")
    return 1 if unexpected else 0


def _wait(study: PhantomStudy, pacs: DemoPacs, folder: Path, until: float, progress: Callable[[int], None]) -> list[_Answer]:
    """The answers whose objects are all in the archive, as soon as all are or the time is over."""
    while True:
        answers = _answers(study, pacs, folder)
        progress(len(answers))
        if len(answers) == len(study.queries) or time.monotonic() > until:
            return answers
        time.sleep(0.2)


def _answers(study: PhantomStudy, pacs: DemoPacs, folder: Path) -> list[_Answer]:
    directories = [path.parent for path in (folder / "node" / "results").glob(f"*/*/{FILE_NAME}") if path.parent.suffix != ".unfinished"]
    settled = {outcome.query.sop_instance_uid: (outcome, d) for d in directories for outcome in [read_outcome(d)]}
    answers = []
    for i, query in enumerate(study.queries):
        if str(query.dataset.SOPInstanceUID) not in settled:
            continue
        outcome, directory = settled[str(query.dataset.SOPInstanceUID)]
        found = {o.kind: path for o in outcome.objects if (path := pacs.path_of(o.sop_instance_uid)) is not None}
        if len(found) == len(outcome.objects):
            answers.append(_Answer(query, Verdict.PASS if i == 0 else Verdict.FAIL, outcome, directory, found))
    return answers


def _answers_table(answers: list[_Answer], study: PhantomStudy) -> Table:
    table = Table(title="Predicted by the node, against the truth that only this demonstration knows", title_justify="left")
    for column in ("query", "true DSC", "predicted DSC", "true NSD", "predicted NSD", "verdict", "error-map DSC", "seconds"):
        table.add_column(column, justify="left" if column in ("query", "verdict") else "right")
    grid, reference = study.phantom.volume.grid, study.phantom.reference
    for answer in answers:
        predicted = answer.outcome.predicted
        true = agreement(answer.query.segmentation, reference, grid.spacing, predicted.tolerance_mm) if predicted else None
        verdict = answer.outcome.verdict
        table.add_row(
            answer.query.segmenter,
            *_numbers(true, answer.outcome),
            f"[{_COLOURS.get(verdict, 'white')}]{verdict}[/]",
            f"{_error_map_dsc(answer, reference, grid):.2f}" if predicted else "-",
            f"{sum(answer.outcome.timings_ms.values()) / 1000:.1f}",
        )
    return table


def _numbers(true: Agreement | None, outcome: Outcome) -> list[str]:
    if true is None or outcome.predicted is None:
        return ["-"] * 4
    return [f"{v:.2f}" for v in (true.dsc, outcome.predicted.dsc, true.nsd, outcome.predicted.nsd)]


def _error_map_dsc(answer: _Answer, reference: Segmentation, grid: Grid) -> float:
    """DSC of the error map as the archive keeps it against the true errors; tissues are found by their anatomic regions."""
    predicted = np.zeros_like(reference)
    if "error_map" in answer.in_archive:
        path = answer.in_archive["error_map"]
        read = read_segmentation(path, grid)
        rows = {tissue.code[:2]: row for row, tissue in enumerate(CARDIAC_TISSUES)}
        regions = {s.segment_number: s.anatomic_region for s in read_header(path).segments}
        for number, voxels in zip(read.segment_numbers, read.masks, strict=True):
            region = regions[number]
            if region is not None:
                predicted[rows[region[:2]]] |= voxels
    return error_map_dsc(predicted, error_map(answer.query.segmentation, reference))


def _show_worklist(folder: Path, answers: list[_Answer], console: Console) -> None:
    database = open_database(folder / "node")
    try:
        items = Worklist(database).list()
    finally:
        database.close()
    segmenters = {a.outcome.query.sop_instance_uid: a.query.segmenter for a in answers}
    table = Table(title="The radiologist's worklist, worst first", title_justify="left")
    for column in ("item", "segmentation by", "verdict", "predicted DSC", "why"):
        table.add_column(column)
    for item in items:
        table.add_row(*_item_row(item, segmenters.get(item.query_sop_instance_uid, "")))
    console.print(table)


def _item_row(item: Item, segmenter: str) -> list[str]:
    number = "-" if item.predicted_dsc is None else f"{item.predicted_dsc:.2f}"
    return [str(item.item_id), segmenter, item.verdict or "", number, escape("; ".join(r.text for r in item.reasons))]


def _show_places(pacs: DemoPacs, folder: Path, answers: list[_Answer], console: Console) -> None:
    console.print("\nPreviews (open one), with verdict.json and the DICOM objects beside them:")
    for answer in answers:
        console.print(f"  {answer.query.segmenter}: {escape(str(answer.directory / 'preview.png'))}", soft_wrap=True)
    console.print(
        f"The archive's objects: {escape(str(pacs.folder))}; delete {escape(str(folder))} when you have seen enough.", soft_wrap=True
    )
    console.print("Next: docs/quick-start.md connects the node to your own archive, beginning with `qcnode doctor`.\n")


def _demo_account(folder: Path) -> tuple[str, str]:
    """An account for the pages of this demonstration: (name, password)."""
    name, password = "demo", secrets.token_urlsafe(9)
    database = open_database(folder / "node")
    try:
        accounts = Accounts(database)
        if accounts.find(name) is None:
            accounts.add(name, Passwords().hash(password), Role.SUPERVISOR, by=name, now=datetime.now(UTC))
        else:
            accounts.set_password(name, Passwords().hash(password), by=name, now=datetime.now(UTC))
    finally:
        database.close()
    return name, password


def _invite(pacs: DemoPacs, node: Node, account: tuple[str, str], console: Console) -> None:
    name, password = account
    link = node.sign_in_address(name)
    is_open = link is not None and open_in_browser(link)
    opened = "It is open in your browser; elsewhere sign" if is_open else "Sign"
    console.print(
        f"The worklist: http://127.0.0.1:{node.web_port}/  {opened} in as {name} with the password {password}\n",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    console.print(
        f"Still running. Send an MR series and a SEG of it to AE title QCNODE at 127.0.0.1:{node.port}, for example with\n"
        f"  storescu -R -aec QCNODE 127.0.0.1 {node.port} +sd +r FOLDER\n"
        f"The answers go to {pacs.ae_title} at 127.0.0.1:{pacs.port}. Ctrl-C ends.",
        highlight=False,
    )
