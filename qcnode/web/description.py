"""The API's description in OpenAPI: what FastAPI derives from the routes, with how errors look and how a program shows who it is."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from qcnode.web.api_models import Problem
from qcnode.web.auth import CSRF_HEADER
from qcnode.web.problems import MEDIA_TYPE
from qcnode.web.security import SAFE_METHODS

_PROBLEM = "Problem"
_SESSION, _TOKEN = "session", "csrf_token"


def problems(said: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for problem documents, by status. Its own `model` would describe them as application/json."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{_PROBLEM}"}}}
    return {status: {"description": text, "content": content} for status, text in said.items()}


def describe(app: FastAPI, cookie: str, *, open_to_all: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """The description. cookie: the name of the session's cookie. open_to_all: (method, path) of calls without a session."""
    described: dict[str, Any] = app.openapi()
    parts = described.setdefault("components", {})
    parts.setdefault("schemas", {})[_PROBLEM] = Problem.model_json_schema()
    parts["securitySchemes"] = {
        _SESSION: {"type": "apiKey", "in": "cookie", "name": cookie},
        _TOKEN: {"type": "apiKey", "in": "header", "name": CSRF_HEADER, "description": "csrf_token of the session"},
    }
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            needed: dict[str, list[str]] = {_SESSION: []} if method.upper() in SAFE_METHODS else {_SESSION: [], _TOKEN: []}
            operation["security"] = [] if (method.upper(), path) in open_to_all else [needed]
    return described
