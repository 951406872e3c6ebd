"""A site with half a year of cases, one scanner of which has drifted: realistic figures for the overview."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
from sqlalchemy import insert
from store_samples import START, put_item
from web_samples import Site

from qcnode.case import Verdict
from qcnode.store.jobs import Jobs
from qcnode.store.schema import case_table
from qcnode.store.worklist import Decision, Judgement, Worklist

SCANNERS = ("SIEMENS Aera", "SIEMENS Prisma", "Philips Ingenia", "GE SIGNA Artist", "Canon Vantage Orian with a long name of its own")
SEGMENTERS = ("nnU-Net 2.5", "CardioSeg 1.1")


def fill(site: Site, weeks: int = 30, of_week: int = 8) -> None:
    """Judged cases of `weeks` weeks until now, without results and items: scanner 0 falls by 0.07 in the last four."""
    generator, now, rows = np.random.default_rng(7), site.clock(), []
    for week in range(weeks):
        for number in range(of_week * len(SCANNERS)):
            scanner = number % len(SCANNERS)
            if scanner == 4 and week < 24:
                continue  # it is new
            moved = 0.07 if scanner == 0 and week >= weeks - 4 else 0.0
            dsc = float(np.clip(0.97 - generator.gamma(2.0, 0.03) - moved, 0.2, 0.99))
            verdict = Verdict.FAIL if dsc < 0.75 else Verdict.REVIEW if dsc < 0.8 else Verdict.PASS
            at = now - timedelta(weeks=weeks - week - 1) - timedelta(days=float(generator.uniform(0, 5)))
            rows.append(_row(f"{week}-{number}", at, SCANNERS[scanner], SEGMENTERS[int(generator.random() < 0.3)], dsc, verdict))
    with site.database.begin() as connection:
        connection.execute(insert(case_table), rows)


def _row(case_id: str, at: object, scanner: str, segmenter: str, dsc: float, verdict: Verdict) -> dict[str, object]:
    row = {"case_id": case_id, "query_sop_instance_uid": case_id, "study_instance_uid": case_id, "task": "cardiac-sax", "content": "{}"}
    row |= {"state": "DONE", "created_at": at, "attempts": 1, "next_attempt_at": at, "settled_at": at, "verdict": verdict.value}
    return row | {"predicted_dsc": dsc, "reasons": json.dumps([]), "scanner": scanner, "segmenter": segmenter, "patient_key": case_id}


def decide_some(site: Site, number: int = 24) -> None:
    """Flagged cases, most of them decided as predicted; some are left."""
    generator, worklist, now = np.random.default_rng(8), Worklist(site.database), site.clock()
    jobs = Jobs(site.database)
    for n in range(number):
        dsc = float(generator.uniform(0.3, 0.85))
        verdict = Verdict.FAIL if dsc < 0.75 else Verdict.REVIEW
        item = put_item(
            site.database,
            f"d{n}",
            verdict,
            dsc,
            (now - START).total_seconds() - 9000 * n,
            jobs=jobs,
            scanner=SCANNERS[n % 4],
            segmenter=SEGMENTERS[n % 2],
        )
        if n % 4:
            wrong = dsc + generator.normal(0, 0.1) < 0.7
            decision = Decision.ACCEPT if not wrong else Decision.REJECT if dsc < 0.5 else Decision.NEEDS_CORRECTION
            worklist.claim(item.item_id, "meyer", now, now + timedelta(minutes=15))
            worklist.hold(item.item_id, "meyer", Judgement(decision), now, now)
    worklist.finalise_due(now)
