"""Who may look and who may operate: two tokens, the origins that a browser may come from, and the page's addresses.

Bound to the loopback interface everybody on this machine may do both (other origins are refused all the same: a page
from elsewhere, open in the same browser, is a stranger). Bound wider, nothing is shown without a token. The addresses,
with their tokens, are in `web.json` in the run's folder, for its user alone; `page_lines` says them to people.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
import secrets
import socket
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from engine.addresses import is_loopback

FILE = "web.json"
EVERYWHERE = ("*", "0.0.0.0", "::")


class Right(IntEnum):
    """What a visitor may do; each includes the one before."""

    NOTHING = 0
    WATCH = 1
    OPERATE = 2


@dataclass(frozen=True)
class Access:
    """The rule of one server. Empty tokens: nobody needs one."""

    watch: str = ""
    operate: str = ""

    @classmethod
    def new(cls, open_to_others: bool) -> Access:
        """Fresh tokens where other computers can reach us."""
        return cls(secrets.token_urlsafe(12), secrets.token_urlsafe(18)) if open_to_others else cls()

    @classmethod
    def of_run(cls, run_folder: Path, open_to_others: bool) -> Access:
        """The run's tokens: those of the process before, if there was one, so that open pages find their way back."""
        try:
            found = json.loads((run_folder / FILE).read_text())
            watch, operate = (urlsplit(found[name]).query.removeprefix("token=") for name in ("watch", "operate"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls.new(open_to_others)
        return cls(watch, operate) if open_to_others and watch and operate else cls.new(open_to_others)

    def right(self, token: str) -> Right:
        """What this token allows. Compared in constant time."""
        if not self.operate:
            return Right.OPERATE
        given = token.encode()
        operate, watch = (hmac.compare_digest(given, each.encode()) for each in (self.operate, self.watch))
        return Right.OPERATE if operate else Right.WATCH if watch else Right.NOTHING

    def knows_host(self, host: str) -> bool:
        """Whether a request may name us so. On loopback only by loopback names: a foreign name that leads here (DNS
        rebinding) would make a stranger's page our own origin."""
        if self.operate:
            return True
        try:
            return is_loopback(urlsplit(f"//{host}").hostname or "")
        except ValueError:  # "[": no name at all
            return False


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a page of this server asks. No origin: not a browser."""
    try:
        return origin is None or urlsplit(origin).netloc == host
    except ValueError:  # no address at all
        return False


def hosts(listen: str) -> list[str]:
    """Names and addresses by which a browser finds a server that listens at this host; the best one first."""
    if listen not in EVERYWHERE:
        return [f"[{listen}]" if ":" in listen else listen]
    found = [socket.gethostname()]
    for card in psutil.net_if_addrs().values():
        for one in card:
            if one.family == socket.AF_INET and not ipaddress.ip_address(one.address).is_loopback:
                found.append(one.address)
    return found


def write_addresses(run_folder: Path, host: str, port: int, access: Access) -> str:
    """Write where the page is, with its tokens, into a file that only this user can read; the address without them."""
    names = hosts(host)
    address = f"http://{names[0]}:{port}/"
    found: dict[str, object] = {"address": address, "port": port, "hosts": names}
    if access.operate:
        found |= {"watch": f"{address}?token={access.watch}", "operate": f"{address}?token={access.operate}"}
    beside = run_folder / f".{FILE}.{os.getpid()}"
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(json.dumps(found, indent=1) + "\n")
    beside.replace(run_folder / FILE)  # whoever reads it meanwhile reads all of the old one
    return address


def page_lines(run_folder: Path) -> list[str]:
    """Where the page of a run is, in lines for people: what `ringtrack run` prints when it is ready.

    One line on this computer alone, one for each token where others can reach it; none if no page is served (yet).
    """
    try:
        found = json.loads((run_folder / FILE).read_text())
        if "operate" not in found:
            return [f"the page: {found['address']}"]
        lines = [f"the page, to watch:   {found['watch']}", f"the page, to operate: {found['operate']}"]
        others = found["hosts"][1:]
        return lines + ([f"  (instead of {found['hosts'][0]} also {', '.join(others)})"] if others else [])
    except (OSError, ValueError, KeyError, TypeError):
        return []
