"""The supervisor's hold on the warm template that processes are forked from (`engine.template`).

    with Template(environment, toml) as template:      # loads in the background
        template.poll()                                # at each turn of the loop: is it loaded, is it dead?
        if template.ready: started = template.start("bridge.receiver:main", "receiver", plan_path)

A template that dies is replaced; the processes that it made do not notice. One that cannot load has met kernels that
cannot be used (a cache cut short, or made elsewhere): they are deleted and compiled anew, once.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from engine.template import PACKET_BYTES

LOADING_LIMIT_S = 300.0
"""Compiling everything takes half a minute; on a machine that is busy with other things, several."""
STARTING_LIMIT_S = 2.0
"""A fork takes milliseconds; a template that does not answer is killed."""
LIVES = 5
_PR_SET_CHILD_SUBREAPER = 36


class StartedProcess:
    """A process that the template made and that is ours to reap. Its life-line is cut by our death, or by `close`."""

    def __init__(self, pid: int, life_line: int, stderr_fd: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)  # readable once it is dead
        self.stderr_fd = stderr_fd
        self._life_line = life_line
        os.set_blocking(stderr_fd, False)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def reap(self) -> int:
        """Wait for its end; the exit status, or minus the signal that killed it."""
        _, status = os.waitpid(self.pid, 0)
        for descriptor in (self._life_line, self.stderr_fd, self.pidfd):
            os.close(descriptor)
        return os.waitstatus_to_exitcode(status)


class Template:
    """One at a time, from the beginning of a run to its end."""

    def __init__(self, environment: dict[str, str], toml: str, forget_kernels: Callable[[], None]) -> None:
        self.ready = False
        self.lives = 0  # how many there have been
        self.fault = ""  # why there will be none any more, for people
        self._environment = environment
        self._toml = toml
        self._forget_kernels = forget_kernels
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._complaint = tempfile.TemporaryFile()  # noqa: SIM115  closed with us
        self._since = 0.0

    def __enter__(self) -> Template:
        _subreaper(True)
        self._launch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._complaint.close()
        _subreaper(False)

    @property
    def fd(self) -> int:
        """Readable when `poll` has something to find out; -1 while there is none."""
        return self._socket.fileno() if self._socket else -1

    def poll(self) -> None:
        """Look whether it is loaded or dead, without waiting; a dead one is replaced."""
        if self._socket is None or self.fault:
            return
        late = not self.ready and time.monotonic() - self._since > LOADING_LIMIT_S
        try:
            packet = b"" if late else self._socket.recv(PACKET_BYTES)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if packet:
            self.ready = True
        else:
            self._replace()

    def start(self, target: str, name: str, plan: Path) -> StartedProcess | None:
        """Make a process of the run; None if the template has just died, so that it has to be tried again."""
        assert self._socket is not None
        stdin, life_line = os.pipe()
        stderr_fd, stderr = os.pipe()
        try:
            self._socket.settimeout(STARTING_LIMIT_S)
            command = json.dumps({"start": [target, name, str(plan)]}).encode()
            socket.send_fds(self._socket, [command], [stdin, stderr])
            packet = self._socket.recv(PACKET_BYTES)
        except OSError:  # killed, or stopped
            packet = b""
        finally:
            os.close(stdin)
            os.close(stderr)
            self._socket.setblocking(False)
        if packet:
            return StartedProcess(json.loads(packet)["started"], life_line, stderr_fd)
        os.close(life_line)
        os.close(stderr_fd)
        self._replace()
        return None

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "engine.template"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._complaint,
                env=self._environment,
                start_new_session=True,
            )
        ours.setblocking(False)
        self._socket, self._since = ours, time.monotonic()
        self.lives += 1
        with contextlib.suppress(OSError):
            ours.send(json.dumps({"load": self._toml}).encode())

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _replace(self) -> None:
        loaded, self.ready = self.ready, False
        self._end()
        if self.lives >= LIVES or (not loaded and self.lives > 1):
            self._complaint.seek(0)
            said = self._complaint.read().decode(errors="replace").strip()
            self.fault = f"the kernels cannot be compiled: {said[-2000:] or 'no reason was given'}"
            return
        if not loaded:
            self._forget_kernels()
        self._launch()


def _subreaper(wanted: bool) -> None:
    """Be given the processes that the template forks twice (prctl(2)), or not any more."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)
