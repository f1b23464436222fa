"""Who may look and who may operate: two tokens, and the origins that a browser may come from.

Bound to the loopback interface everybody on this machine may do both (other origins are refused all the same: a page
from elsewhere, open in the same browser, is a stranger). Bound wider, nothing is shown without a token.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from enum import IntEnum
from urllib.parse import urlsplit


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
        name = urlsplit(f"//{host}").hostname or ""
        return bool(self.operate) or name in ("localhost", "127.0.0.1", "::1")


def same_origin(origin: str | None, host: str) -> bool:
    """Whether a page of this server asks. No origin: not a browser."""
    return origin is None or urlsplit(origin).netloc == host
