"""Everything between the rings and the world outside: what a camera program needs is re-exported here.

Nothing is imported before it is asked for: `bridge.Sender` runs on a camera PC with any operating system.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.async_client import AsyncClient as AsyncClient
    from bridge.client import Client as Client
    from bridge.outcomes import Statistics as Statistics
    from bridge.sender import Sender as Sender
    from bridge.simulator import Simulator as Simulator
    from bridge.wire import PeerError as PeerError

_WHERE = {
    "AsyncClient": "bridge.async_client",
    "Client": "bridge.client",
    "Sender": "bridge.sender",
    "Statistics": "bridge.outcomes",
    "Simulator": "bridge.simulator",
    "PeerError": "bridge.wire",
}

__all__ = ["AsyncClient", "Client", "PeerError", "Sender", "Simulator", "Statistics"]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'bridge' has no attribute {name!r}")
