"""Asks a running server over HTTP, and says in words why there is no answer."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

from ambient.errors import AmbientError

__all__ = ["ask"]


def ask(url: str, token: str | None = None) -> Any:
    """The JSON at ``url``; without a token the one in ``$AMBIENT_TOKEN``, if any. Raises AmbientError."""
    token = token or os.environ.get("AMBIENT_TOKEN")
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        message = error.read().decode(errors="replace").strip()
        advice = "; it wants another token: --token, or AMBIENT_TOKEN" if error.code == 401 else ""
        raise AmbientError(f"{url}: {error.code} {message}{advice}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise AmbientError(f"nothing answers at {url} ({reason}); is `ambient serve` running there?") from error
