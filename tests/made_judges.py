"""Judges for the judging process: each does to it what the first word of the case's id says."""

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from qcnode.case import Case, QueryRef, Verdict
from qcnode.errors import ConfigurationError
from qcnode.judging.assignment import Assignment, CaseJudge
from qcnode.outcome import Outcome, Query, write_outcome


def misbehaves(case: Case) -> None:
    """Comes back where the case is told nothing."""
    told = case.case_id.split("-")[0]
    if told == "hang":
        time.sleep(600)
    if told == "seize":  # a library that hangs and does not let any other thread run
        ctypes.PyDLL(None).sleep(600)
    if told == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if told == "exit":
        os._exit(3)
    if told == "raise":
        raise ValueError("PHANTOM^QCNODE")
    if told == "print":
        print("printed by a library", flush=True)  # noqa: T201
    if told == "grow":
        grown = bytearray(os.urandom(2**20) * 400)
        time.sleep(600)
        del grown


@dataclass(frozen=True)
class Told:
    """Answers with the number of its process in place of a device."""

    def __call__(self, assignment: Assignment) -> Outcome:
        case = assignment.case
        assignment.directory.with_suffix(".pid").write_text(str(os.getpid()))
        misbehaves(case)
        query = Query(case.query.series_instance_uid, case.query.sop_instance_uid)
        device = str(os.getpid())
        outcome = Outcome(case.case_id, "1.2", query, case.task, None, device, None, Verdict.REVIEW, (), "directory")
        assignment.directory.mkdir()
        write_outcome(outcome, assignment.directory)
        return outcome


@dataclass(frozen=True)
class ToldPipeline:
    """The road with a predictor that is told, after what the case is told; a case that is set aside is told nothing."""

    def __call__(self, assignment: Assignment) -> Outcome:
        from said_predictor import judge_that_says, prediction

        from qcnode.judging.here import JudgeHere

        if assignment.case.problem is None:
            misbehaves(assignment.case)
        return JudgeHere({"cardiac-sax": judge_that_says(prediction(0.5))}, "1")(assignment)


def told() -> CaseJudge:
    return Told()


def told_pipeline() -> CaseJudge:
    return ToldPipeline()


def no_judge() -> CaseJudge:
    raise ConfigurationError("the weights are gone")


def case(case_id: str) -> Case:
    return Case(case_id, "1.2", QueryRef(Path("query.dcm"), "1.2.3", "1.2.4"), "cardiac-sax", {}, "cine", "directory")
