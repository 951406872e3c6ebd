"""Server-sent events: what happens on the worklist, as it happens, whoever did it (this server, the CLI, the node).

The audit table tells: each change of an item is an entry, and its number is the event's id, so that a page that was away for a moment
misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from qcnode.errors import Retryable
from qcnode.store.audit import AuditEntry
from qcnode.web.auth import Watching, principal_of
from qcnode.web.context import WebContext, context_of

POLL_SECONDS = 1.0
KEEP_ALIVE_SECONDS = 15.0
_ITEM = "worklist-item/"
_NO_CHANGE = frozenset({"view", "renew"})
_LARGEST = 2**63 - 1


def event_of(entry: AuditEntry) -> str | None:
    """An audit entry as event text, or None where it tells nothing about an item's state. No patient attribute is in it."""
    if not entry.subject.startswith(_ITEM) or entry.action in _NO_CHANGE:
        return None
    content = {"item_id": int(entry.subject.removeprefix(_ITEM)), "action": entry.action, "by": entry.actor}
    return f"id: {entry.audit_id}\nevent: item\ndata: {json.dumps(content)}\n\n"


def event_stream(
    request: Request,
    _: Watching,
    after: Annotated[int | None, Query(ge=0, le=_LARGEST, description="the id of the last event that is known")] = None,
    last_event_id: Annotated[str, Header()] = "",
) -> StreamingResponse:
    """Changes of worklist items as server-sent events, from now on or from the last known one; ends with the session."""
    known = int(last_event_id) if last_event_id.isdecimal() and int(last_event_id) <= _LARGEST else after
    return StreamingResponse(_stream(request, known), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _stream(request: Request, known: int | None) -> AsyncIterator[str]:
    context: WebContext = context_of(request)
    ending: threading.Event = request.app.state.ending
    last = await run_in_threadpool(context.audit.last_id) if known is None else known
    yield "retry: 3000\n\n"
    silent = 0.0
    while not ending.is_set():
        try:
            entries = await run_in_threadpool(context.audit.after, last)
        except Retryable:
            entries = []
        for entry in entries:
            last = entry.audit_id
            event = event_of(entry)
            if event is not None:
                silent = 0.0
                yield event
        silent += POLL_SECONDS
        if silent >= KEEP_ALIVE_SECONDS:
            silent = 0.0
            # listening is no action of the reader: the session is looked at and not prolonged
            if await run_in_threadpool(principal_of, request, is_action=False) is None:
                yield "event: signed-out\ndata: {}\n\n"
                return
            yield ": still here\n\n"
        await asyncio.sleep(POLL_SECONDS)
