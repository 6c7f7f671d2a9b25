"""Who may come in: pages of this server or of the sites on a list, under names that really mean this server; and with
which token."""

from __future__ import annotations

import base64
import ipaddress
import socket
import urllib.parse
from collections.abc import Callable, Sequence

from aiohttp import web

from ambient.server.tokens import Rights, Tickets, Tokens
from ambient.sinks.allowance import Allowances

__all__ = ["Admission", "BadToken"]

WRONG_TOKENS = (0.1, 10.0)
"""Wrong tokens a second from one address, and at once."""


class BadToken(Exception):
    """A token or ticket that is not good. ``retry_after_seconds``: when the next one is looked at, 0: at once."""

    def __init__(self, retry_after_seconds: float = 0.0) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__("this token is not good")


class Admission:
    """Judges requests.

    ``host`` is the address that is listened on; ``origins`` are further origins, such as ``https://example.org``,
    whose pages may connect and under whose host names the server may be reached. ``now`` gives seconds.
    """

    def __init__(self, host: str, origins: Sequence[str], tokens: Tokens, now: Callable[[], float]) -> None:
        self._origins = frozenset(o.rstrip("/").lower() for o in origins)
        hosts = {urllib.parse.urlsplit(o).hostname or "" for o in self._origins}
        self._names = {"localhost", host.lower(), socket.gethostname().lower(), *hosts}
        self._tokens = tokens
        self.tickets = Tickets(now)
        self._wrong = Allowances(*WRONG_TOKENS, now)

    def welcome(self, request: web.Request) -> bool:
        """Same origin or on the list; and reached under a name that no stranger's DNS can point here."""
        name = (urllib.parse.urlsplit(f"//{request.host}").hostname or "").lower()
        if name not in self._names and not name.endswith((".localhost", ".local")) and not _is_address(name):
            return False
        origin = request.headers.get("Origin")
        return (
            origin is None
            or self.listed(origin)
            or urllib.parse.urlsplit(origin).netloc.lower() == request.host.lower()
        )

    def listed(self, origin: str) -> bool:
        """Whether an origin is on the list."""
        return origin.lower() in self._origins

    def rights(self, request: web.Request) -> Rights:
        """What the sender of a request may do. Raises BadToken for a token or ticket that is not good."""
        ticket, header = request.query.get("ticket"), request.headers.get("Authorization")
        if (ticket is None and header is None) or self._tokens.anonymous is Rights.CONTROL:
            return self._tokens.anonymous
        wrong = self._wrong.of(request.remote)
        if wrong.wait_seconds:
            raise BadToken(wrong.wait_seconds)
        rights = self.tickets.rights(ticket) if ticket is not None else self._tokens.rights(_secret(header or ""))
        if rights is Rights.NONE:
            wrong.take()
            raise BadToken
        return rights


def _secret(header: str) -> str:
    """The token of an ``Authorization`` header: Bearer, or Basic with any user name, which every player can send."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
