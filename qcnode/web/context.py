"""What the web application is built of; the node makes one, and so do the tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from qcnode.config import Web
from qcnode.review import Review
from qcnode.store.accounts import Accounts
from qcnode.store.audit import Audit
from qcnode.store.outbox import Outbox
from qcnode.store.rejected_callers import RejectedCallers
from qcnode.store.thumbnail_files import ThumbnailFiles
from qcnode.web.openings import Openings
from qcnode.web.passwords import Passwords
from qcnode.web.sign_in_links import SignInLinks
from qcnode.web.throttle import Throttle


@dataclass(frozen=True)
class WebContext:
    """Everything that the pages and the API need.

    thresholds: task -> the predicted DSC that it needs. thumbnails: where the small pictures are kept.
    """

    settings: Web
    review: Review
    accounts: Accounts
    audit: Audit
    outbox: Outbox
    rejected_callers: RejectedCallers
    thresholds: Mapping[str, float]
    thumbnails: ThumbnailFiles
    now: Callable[[], datetime]
    version: str
    passwords: Passwords = field(default_factory=Passwords)
    throttle: Throttle = field(default_factory=Throttle)
    openings: Openings = field(default_factory=Openings)
    links: SignInLinks = field(default_factory=SignInLinks)


def context_of(request: Request) -> WebContext:
    """The context of the application that serves this request."""
    context: WebContext = request.app.state.context
    return context


Context = Annotated[WebContext, Depends(context_of)]
