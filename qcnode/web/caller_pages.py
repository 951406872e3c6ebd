"""For administrators: who was turned away by the DICOM listeners, and what would let them in."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from qcnode.rejection import REASONS
from qcnode.web.account_pages import Admin
from qcnode.web.context import Context
from qcnode.web.templating import render

router = APIRouter(include_in_schema=False)


@router.get("/callers")
def rejected_callers(request: Request, context: Context, admin: Admin) -> Response:
    """The last one first."""
    return render(request, "callers.html", admin, callers=context.rejected_callers.list(), reasons=REASONS)
