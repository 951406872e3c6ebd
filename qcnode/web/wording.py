"""How the pages say things: names, dates, numbers, verdicts and states in words."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from qcnode.case import Verdict
from qcnode.regions import Mark
from qcnode.store.items import Decision, Stage

VERDICTS = {
    Verdict.FAIL: "Fail",
    Verdict.REVIEW: "Review",
    Verdict.UNASSESSABLE: "Not assessable",
    Verdict.PASS: "Pass",
    Verdict.NOT_APPLICABLE: "Not judged",
}
DECISIONS = {Decision.ACCEPT: "Accepted", Decision.REJECT: "Rejected", Decision.NEEDS_CORRECTION: "Needs correction"}
STATES = {"OPEN": "Open", "CLAIMED": "Being read", "HELD": "Decided, can be undone", "DECIDED": "Decided", "SUPERSEDED": "Superseded"}
STAGES = {Stage.FIRST: "", Stage.SECOND: "Second reading", Stage.ADJUDICATION: "Readers differ", Stage.REVISION: "Revision"}
STAGE_HINTS = {
    Stage.SECOND: "Another reader has judged this case; what was decided is shown when yours is final.",
    Stage.ADJUDICATION: "Your decision settles it.",
    Stage.REVISION: "The decision before stands until another one is final.",
}
MARKS = {Mark.REAL: "real", Mark.NOT_REAL: "not real", Mark.UNSURE: "unsure"}
MARK_KEYS = {Mark.REAL: "y", Mark.NOT_REAL: "n", Mark.UNSURE: "m"}
ACTIONS = {
    "create": "put on the worklist",
    "view": "opened",
    "claim": "took",
    "release": "gave back",
    "renew": "continued",
    "reassign": "reassigned",
    "decide": "decided",
    "undo": "took the decision back",
    "reopen": "reopened the decision",
    "finalise": "made the decision final",
    "expire": "ended the claim, whose time had run out",
    "supersede": "superseded",
    "workstation-claim": "took, at a workstation",
    "workstation-complete": "completed the step, at a workstation",
    "workstation-cancel": "gave up the step, at a workstation",
    "sign-in": "signed in",
    "add-account": "added the account",
    "set-password": "set a new password",
    "disable-account": "disabled the account",
    "sign-in-failed": "failed to sign in",
    "sign-out": "signed out",
}


def person_name(value: str) -> str:
    """A DICOM person name (PN, PS3.5 6.2) for people: "DOE^JANE^^DR" as "DOE, JANE (DR)"; the first component group that has text."""
    group = next((g for g in value.split("=") if g.strip("^ ")), "")
    family, given, middle, prefix, suffix = ([part.strip() for part in group.split("^")] + [""] * 5)[:5]
    name = ", ".join(part for part in (family, " ".join(p for p in (given, middle) if p)) if part)
    titles = ", ".join(part for part in (prefix, suffix) if part)
    return f"{name} ({titles})" if titles else name or "(no name)"


def dicom_date(value: str) -> str:
    """A DICOM date (DA) as "2026-05-04"; what is not one stays as it is, nothing is a dash."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value or "–"


def number(value: float | None) -> str:
    """Two digits: predicted numbers are no more exact than that."""
    return "–" if value is None else f"{value:.2f}"


def interval(low: float | None, high: float | None) -> str:
    """ "0.72–0.88", or nothing where there is no interval."""
    return "" if low is None or high is None else f"{low:.2f}–{high:.2f}"


def slices(first: int, last: int) -> str:
    """z indices as people count them: "slice 4", "slices 4–6"."""
    return f"slice {first + 1}" if first == last else f"slices {first + 1}–{last + 1}"


def volume(millilitres: float) -> str:
    """Two significant digits: "3.8 ml", "0.22 ml"."""
    return f"{millilitres:.2g} ml" if millilitres < 10 else f"{millilitres:.0f} ml"


def sentence(text: str) -> str:
    """A reason's text as it stands in a list: with a capital letter, and "0.38-0.44" so that no line breaks within."""
    return re.sub(r"(?<=\d)-(?=\d)", "\u2060–\u2060", text[:1].upper() + text[1:])


def span(length: timedelta) -> str:
    """How long, by one unit: "just now", "12 min", "5 h", "3 days"."""
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "just now"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"


def moment(at: datetime | None) -> str:
    """A time as ISO 8601 in UTC, for the `datetime` attribute; the page's script shows it in the reader's own time zone."""
    return "" if at is None else at.astimezone(UTC).isoformat(timespec="seconds")


def moment_text(at: datetime | None) -> str:
    """A time in words, in UTC, where no script runs."""
    return "–" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
