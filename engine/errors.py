"""Errors, sorted by whose fault it is; each knows the exit status that the command line gives it.

A message names the subject, the fact, the limit, the remedy and the place.
"""

from __future__ import annotations


class RingtrackError(Exception):
    """Any error that ringtrack raises on purpose."""

    exit_status = 1


class SettingsError(RingtrackError):
    """Yours: the settings or the command line are wrong. Lists every fault at once."""

    exit_status = 2


class MachineError(RingtrackError):
    """This computer is not fit for it as it stands: memory, port, disk, a missing extra."""

    exit_status = 3


class PeerError(RingtrackError):
    """The other side's: it cannot be reached, answers what it may not, or refused."""

    exit_status = 3


class ClosedError(RingtrackError):
    """The run has ended, or this object was closed."""


class InternalError(RingtrackError):
    """Ours: something happened that the design rules out."""
