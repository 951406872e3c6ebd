"""Somebody who watches a node that works: echoes, figures, pages with their pictures, and a decision now and then."""

from collections import Counter
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from served_node import AE_TITLE, ServedNode

from qcnode.store.accounts import Accounts, Role
from qcnode.store.database import open_database
from qcnode.web.auth import CSRF_HEADER, token_for

READER = "meyer"


class Onlooker:
    """A signed-in supervisor at a node's pages, who also asks its listener and its figures. What is refused raises."""

    def __init__(self, node: ServedNode, web_port: int, monitoring_port: int) -> None:
        database = open_database(node.storage)
        try:
            accounts, now = Accounts(database), datetime.now(UTC)
            accounts.add(READER, "never checked: the session below is opened by hand", Role.SUPERVISOR, by="test", now=now)
            token = accounts.open_session(READER, now)
        finally:
            database.close()
        headers = {"Cookie": f"qcnode={token}", CSRF_HEADER: token_for(token, "csrf")}
        self._pages = httpx.Client(base_url=f"http://127.0.0.1:{web_port}", headers=headers, timeout=60)
        self._figures = httpx.Client(base_url=f"http://127.0.0.1:{monitoring_port}", timeout=60)
        self._node = node
        self._done: Counter[str] = Counter()

    def look(self) -> None:
        """Everything once."""
        self._echo()
        for address in ("/metrics", "/health"):
            self._ask(self._figures, address)
        for address in ("/", "/overview"):
            self._ask(self._pages, address)
        worst = self._ask(self._pages, "/api/v1/items?limit=5").json()["items"]
        if worst:
            number = worst[0]["item_id"]
            for address in ("", "/viewer/viewer.json", "/thumbnail"):
                self._ask(self._pages, f"/cases/{number}{address}")
            judgement = {"decision": "REJECT", "reasons": ["slices left out"], "rating": 2}
            self._pages.post(f"/api/v1/items/{number}/decide", json=judgement).raise_for_status()
            self._done["decisions"] += 1

    def told(self) -> str:
        """How much was asked."""
        return ", ".join(f"{number} {what}" for what, number in sorted(self._done.items()))

    def _ask(self, client: httpx.Client, address: str) -> httpx.Response:
        answer = client.get(address)
        answer.raise_for_status()
        self._done["scrapes" if client is self._figures else "pages"] += 1
        return answer

    def _echo(self) -> None:
        entity = AE("HEALTHCHECK")
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", self._node.port, ae_title=AE_TITLE)
        status = association.send_c_echo().get("Status")
        association.release()
        assert status == 0x0000, status
        self._done["echoes"] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._pages.close()
        self._figures.close()
