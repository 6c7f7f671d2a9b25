"""Tokens that let people listen or steer, and tickets that stand in for them where a browser cannot send headers."""

from __future__ import annotations

import enum
import hmac
import itertools
import os
import pathlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ambient.errors import AmbientError

__all__ = ["Rights", "Tickets", "Tokens", "read_tokens"]

SHORTEST = 8
TICKET_SECONDS = 60.0
MOST_TICKETS = 10_000


class Rights(enum.IntEnum):
    """What somebody may do. Whoever may steer may listen."""

    NONE = 0
    LISTEN = 1
    CONTROL = 2


@dataclass(frozen=True)
class Tokens:
    """The secrets of a server. Without any, everybody may do everything.

    Without tokens for listening, everybody may listen. Without tokens for control, those for listening are good for
    both: steering is never easier than listening.
    """

    listen: frozenset[str] = frozenset()
    control: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        return f"Tokens({len(self.listen)} to listen, {len(self.control)} to control)"  # never the secrets

    @property
    def anonymous(self) -> Rights:
        """What may be done without a token."""
        if self.listen:
            return Rights.NONE
        return Rights.LISTEN if self.control else Rights.CONTROL

    def rights(self, secret: str) -> Rights:
        """What a token is good for. Takes as long for a wrong one as for a right one."""
        if _among(secret, self.control):
            return Rights.CONTROL
        if _among(secret, self.listen):
            return Rights.LISTEN if self.control else Rights.CONTROL
        return Rights.NONE


def _among(secret: str, known: Iterable[str]) -> bool:
    given = secret.encode(errors="surrogateescape")
    found = False
    for one in known:  # looks at them all
        found |= hmac.compare_digest(given, one.encode())
    return found


class Tickets:
    """Random words that are good for a minute, for whoever showed a token. ``now`` gives seconds that never go back."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._issued: dict[str, tuple[Rights, float]] = {}

    def issue(self, rights: Rights) -> str:
        """A new ticket."""
        now = self._now()
        for oldest in list(itertools.takewhile(lambda t: self._issued[t][1] <= now, self._issued)):
            del self._issued[oldest]
        if len(self._issued) >= MOST_TICKETS:
            del self._issued[next(iter(self._issued))]
        ticket = secrets.token_urlsafe(24)
        self._issued[ticket] = (rights, now + TICKET_SECONDS)
        return ticket

    def rights(self, ticket: str) -> Rights:
        """What a ticket is good for now."""
        rights, until = self._issued.get(ticket, (Rights.NONE, 0.0))
        return rights if self._now() < until else Rights.NONE


def read_tokens(path: pathlib.Path | None, environment: Mapping[str, str] = os.environ) -> Tokens:
    """Tokens of a file, with lines ``listen TOKEN`` and ``control TOKEN``, and of ``AMBIENT_LISTEN_TOKEN`` and
    ``AMBIENT_CONTROL_TOKEN``. Raises AmbientError, which never quotes a token."""
    found: dict[str, set[str]] = {"listen": set(), "control": set()}
    for kind, one in found.items():
        variable = f"AMBIENT_{kind.upper()}_TOKEN"
        if secret := environment.get(variable):
            one.add(_checked(secret, variable))
    try:
        lines = [] if path is None else path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AmbientError(f"the tokens cannot be read from {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in found:
            raise AmbientError(f"{path}:{number}: this line is neither `listen TOKEN` nor `control TOKEN`")
        found[words[0]].add(_checked(words[1], f"{path}:{number}"))
    return Tokens(frozenset(found["listen"]), frozenset(found["control"]))


def _checked(secret: str, where: str) -> str:
    if len(secret) < SHORTEST or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise AmbientError(f"{where}: a token has at least {SHORTEST} ASCII characters and no space")
    return secret
