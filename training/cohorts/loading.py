"""What is wrong with the cases of a cohort, collected case by case and told all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qcnode.errors import ConfigurationError, Rejected


class Faults:
    """Collects what is wrong while cases are read; nothing is computed before `tell` has found none."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    @contextmanager
    def of(self, case: str) -> Iterator[None]:
        """Note what goes wrong with `case` inside of the block, and go on."""
        try:
            yield
        except OSError as error:
            self.note(case, error.strerror or str(error))
        except (EOFError, ValueError, Rejected) as error:
            self.note(case, str(error))

    def note(self, case: str, text: str) -> None:
        """Note what is wrong with `case`."""
        self._lines.append(f"{case}: {text}")

    def tell(self) -> None:
        """Raise one ConfigurationError that names every case with what is wrong with it; nothing where all is well."""
        if self._lines:
            raise ConfigurationError("These cases can not be used:\n  " + "\n  ".join(self._lines))
