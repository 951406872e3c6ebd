"""Templates, and what every one of them may use."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from qcnode.store.accounts import Role
from qcnode.web import wording
from qcnode.web.auth import Principal
from qcnode.web.context import WebContext
from qcnode.web.statics import address_of, viewer_modules

FOLDER = Path(__file__).parent / "templates"


def make_templates(context: WebContext) -> Jinja2Templates:
    """The templates of one application; everything is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    environment.globals.update(
        static=address_of,
        viewer_modules=viewer_modules,
        words=wording,
        roles=Role,
        viewer_link=lambda study_instance_uid: viewer_link(context.settings.viewer_url, study_instance_uid),
    )
    filters = (wording.person_name, wording.dicom_date, wording.number, wording.moment, wording.sentence)
    environment.filters.update({each.__name__: each for each in filters})
    return Jinja2Templates(env=environment)


def viewer_link(template: str | None, study_instance_uid: str) -> str | None:
    """The study in the site's viewer: its Study Instance UID and nothing else of the patient goes out."""
    return template.replace("{study_instance_uid}", quote(study_instance_uid, safe="")) if template else None


def render(request: Request, name: str, principal: Principal | None, status: int = 200, **values: Any) -> HTMLResponse:
    """A page or a part of one. `values` are the template's names; `now` is the moment of the answer."""
    context: WebContext = request.app.state.context
    now: datetime = context.now()
    templates: Jinja2Templates = request.app.state.templates
    page: HTMLResponse = templates.TemplateResponse(request, name, {"principal": principal, "now": now, **values}, status)
    return page
