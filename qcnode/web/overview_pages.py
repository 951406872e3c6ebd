"""The worklist in figures, and the audit trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from qcnode.case import Verdict
from qcnode.store.accounts import Role
from qcnode.store.audit import AuditEntry
from qcnode.store.items import Decision
from qcnode.web import charts
from qcnode.web.auth import Principal, SignedIn, with_role
from qcnode.web.context import Context
from qcnode.web.drift_charts import drift_view
from qcnode.web.templating import render

router = APIRouter(include_in_schema=False)

PERIODS = (7, 30, 90)
SHOWN_VERDICTS = (Verdict.FAIL, Verdict.REVIEW, Verdict.UNASSESSABLE, Verdict.PASS)
_AUDIT_LINES = 200
Period = Annotated[int, Query(ge=1, le=366)]


@router.get("/overview")
def overview(request: Request, context: Context, principal: SignedIn, days: Period = 30) -> Response:
    """Cases per day, review rate, agreement, predicted against decided, what waits."""
    found = context.review.overview(context.now(), days)
    return render(
        request,
        "overview.html",
        principal,
        overview=found,
        days=days,
        periods=PERIODS,
        verdicts=SHOWN_VERDICTS,
        decisions=(Decision.ACCEPT, Decision.NEEDS_CORRECTION, Decision.REJECT),
        per_day=charts.per_day(found.days, SHOWN_VERDICTS),
        strip=charts.strip([(p.predicted_dsc, p.decision, p.item_id) for p in found.pairs if p.predicted_dsc is not None]),
        thresholds=sorted(set(context.thresholds.values())),
        deliveries=sorted(context.outbox.counts().items()),
        drift=drift_view(context.review.drift(context.now())),
    )


@router.get("/audit")
def audit_trail(
    request: Request,
    context: Context,
    principal: Annotated[Principal, Depends(with_role(Role.SUPERVISOR))],
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Who did what and when, newest first."""
    entries = context.review.without_secrets(context.audit.before(before, _AUDIT_LINES))
    return render(request, "audit.html", principal, entries=[(e, details_in_words(e)) for e in entries], more=len(entries) == _AUDIT_LINES)


def details_in_words(entry: AuditEntry) -> str:
    """The details that are no patient's and tell nothing of a blind case: decision, reasons, readers, roles."""
    shown = {
        name: entry.details[name]
        for name in ("decision", "rating", "reasons", "from", "to", "reader", "role", "address")
        if entry.details.get(name)
    }
    return ", ".join(f"{name} {', '.join(value) if isinstance(value, list) else value}" for name, value in shown.items())
