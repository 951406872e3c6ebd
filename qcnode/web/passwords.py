"""Passwords: argon2id hashes, made and checked here only."""

from __future__ import annotations

import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MINIMUM_LENGTH = 10


class Passwords:
    """Makes and checks argon2id hashes (RFC 9106, the low-memory profile of argon2-cffi: 64 MiB, 3 passes)."""

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher()
        # checked for names that do not exist, so that the time of an answer does not tell which names do
        self._nobody = self._hasher.hash("nobody")
        # each check takes 64 MiB: a flood of attempts waits in a row and does not fill the memory
        self._one_at_a_time = threading.Lock()

    def hash(self, password: str) -> str:
        """The hash to keep. Raises ValueError for a password shorter than MINIMUM_LENGTH characters."""
        if len(password) < MINIMUM_LENGTH:
            raise ValueError(f"a password has at least {MINIMUM_LENGTH} characters")
        return self._hasher.hash(password)

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether `password` belongs to the hash; None, for an account that does not exist, takes as long and is False."""
        try:
            with self._one_at_a_time:
                return self._hasher.verify(password_hash or self._nobody, password) and password_hash is not None
        except (VerificationError, InvalidHashError):
            return False
