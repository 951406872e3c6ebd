"""What a log line is about, as fields beside its text: case_id, study_instance_uid, sop_instance_uid, destination.

Code far below need not be told for whom it works: the fields belong to the thread's context (contextvars) and are put into every line that
is written there. Only digests, UIDs and names of config.yaml are fields; nothing of a patient is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})
_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("log_fields", default=_NONE)


@contextmanager
def log_scope() -> Iterator[None]:
    """What is noted in the block is forgotten behind it; the block begins with nothing."""
    token = _FIELDS.set(_NONE)
    try:
        yield
    finally:
        _FIELDS.reset(token)


def note(**fields: str | None) -> None:
    """From now on, until the scope ends, lines are about this; None takes a field away."""
    _FIELDS.set({name: value for name, value in {**_FIELDS.get(), **fields}.items() if value is not None})


def noted() -> Mapping[str, str]:
    """What lines are about at the moment."""
    return _FIELDS.get()
