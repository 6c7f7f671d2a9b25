"""The server: the listening page, sound over WebSocket and HTTP, and a door to parameters and events.

Its asyncio loop runs in a thread of its own. Playout is not on this loop: a slow server delays nobody's sound.
"""

from ambient.server.lifecycle import Server
from ambient.server.page import Diagram
from ambient.server.tokens import Tokens, read_tokens

__all__ = ["Diagram", "Server", "Tokens", "read_tokens"]
