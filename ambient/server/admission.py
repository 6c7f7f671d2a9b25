"""Who may come in: pages of this server or of the sites on a list, under names that really mean this server."""

from __future__ import annotations

import ipaddress
import socket
import urllib.parse
from collections.abc import Sequence

from aiohttp import web

__all__ = ["Admission"]


class Admission:
    """Judges requests.

    ``host`` is the address that is listened on; ``origins`` are further origins, such as ``https://example.org``,
    whose pages may connect and under whose host names the server may be reached.
    """

    def __init__(self, host: str, origins: Sequence[str]) -> None:
        self._origins = frozenset(o.rstrip("/").lower() for o in origins)
        hosts = {urllib.parse.urlsplit(o).hostname or "" for o in self._origins}
        self._names = {"localhost", host.lower(), socket.gethostname().lower(), *hosts}

    def welcome(self, request: web.Request) -> bool:
        """Same origin or on the list; and reached under a name that no stranger's DNS can point here."""
        name = (urllib.parse.urlsplit(f"//{request.host}").hostname or "").lower()
        if name not in self._names and not name.endswith((".localhost", ".local")) and not _is_address(name):
            return False
        origin = request.headers.get("Origin")
        if origin is None:
            return True
        return origin.lower() in self._origins or urllib.parse.urlsplit(origin).netloc.lower() == request.host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
