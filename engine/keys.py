"""Where the keys of encrypted connections lie, and whether this machine has them. What they are: `bridge.keys`."""

from __future__ import annotations

import os
from pathlib import Path

SERVER_FILES = ("server.key_secret", "client.key")
"""What whoever is called needs; `bridge.keys` says who needs what."""


def keys_folder() -> Path:
    """Where keys lie: RINGTRACK_KEYS, or ringtrack/keys in the user's configuration folder."""
    named = os.environ.get("RINGTRACK_KEYS")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "ringtrack" / "keys"


def has_server_keys() -> bool:
    """Whether this machine can be called with keys."""
    return all((keys_folder() / name).is_file() for name in SERVER_FILES)
