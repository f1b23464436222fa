"""Addresses as settings have them ("tcp://host:port", "ipc://@name"), and who can reach them."""

from __future__ import annotations

import ipaddress
import re

USUAL = "tcp://127.0.0.1:50052"  # where senders connect to, if nobody chose another
_LOCAL = re.compile(r"ipc://@([\w.-]{1,90})", re.ASCII)


def parse_address(text: str, *, scheme: str = "tcp://") -> tuple[str, int]:
    """Host and port of "tcp://host:port" (or "host:port" where `scheme` is empty). Raises ValueError."""
    host, colon, port = text.removeprefix(scheme).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not text.startswith(scheme) or not colon or not host or "/" in host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(text)
    return host, int(port)


def local_name(text: str) -> str:
    """The name in "ipc://@name", a socket of this computer that leaves no file behind (Linux); "" of all else."""
    found = _LOCAL.fullmatch(text)
    return found[1] if found else ""


def is_loopback(host: str) -> bool:
    """Whether only programs on this computer can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
