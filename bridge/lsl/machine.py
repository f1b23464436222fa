"""Where LSL looks for peers. It is decided before the first call of pylsl, or never.

LSL sends multicast on every network card by default. Here it stays on this computer unless `network.remote` is set;
a configuration of the user (`LSLAPICFG`, or ~/lsl_api/lsl_api.cfg) wins.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import ModuleType

from engine.errors import MachineError

LOOPBACK = """\
[ports]
IPv6 = disable
[multicast]
ResolveScope = machine
ListenAddress = 127.0.0.1
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session}
[log]
level = -2
"""
"""A configuration of liblsl with which nothing leaves this computer."""


def configure(remote: bool, session: str = "default", environ: os._Environ[str] | dict[str, str] = os.environ) -> str:
    """Decide where LSL looks, before pylsl is imported; what was decided, in words.

    With the session "default" programs that were not configured are found, LabRecorder among them.
    """
    if environ.get("LSLAPICFG"):
        return f"as {environ['LSLAPICFG']} says"
    own = next((p for p in (Path("lsl_api.cfg"), Path.home() / "lsl_api/lsl_api.cfg") if p.exists()), None)
    if own is not None:
        return f"as {own} says"
    if remote:
        return "in the whole network"
    # liblsl reads the file at its first use, whenever that is, so it stays.
    path = Path(tempfile.gettempdir()) / f"ringtrack-lsl-{os.getuid()}-{session}.cfg"
    path.write_text(LOOPBACK.format(session=session))
    environ["LSLAPICFG"] = str(path)
    return "on this computer alone"


def load() -> ModuleType:
    """Import pylsl. Raises MachineError in a sentence if it, or its library, is not there."""
    try:
        import pylsl
    except ModuleNotFoundError:
        raise MachineError("lsl.enabled: pylsl is missing. Try: pip install 'ringtrack[lsl]'") from None
    except (RuntimeError, OSError) as error:
        raise MachineError(
            f"lsl.enabled: liblsl cannot be loaded ({error}). pylsl brings one for glibc 2.35 and newer; on an older "
            "system install liblsl and name it in PYLSL_LIB"
        ) from None
    module: ModuleType = pylsl
    return module
