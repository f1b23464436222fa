"""LabRecorder's remote control: a line of text for each command, over TCP (port 22345 by default).

Faults are no reason to stop tracking: every command says whether it went through. Each is answered "OK". The answers
are waited for: to close a connection while one is on its way resets it, and commands not read yet are gone with it.
"""

from __future__ import annotations

import contextlib
import socket
import time

CONNECT_S = 1.0
FOUND_S, STOPPED_S = 5.0, 1.0
"""So long answers are waited for: LabRecorder looks a second or two for streams before it answers "update"."""
OK = b"OK"


class LabRecorder:
    """Starts and stops the recording of another program. Nothing is opened before the first command."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def start(self, task: str, run: str) -> str:
        """Select all streams, name the file after the run, start; what went wrong, or ""."""
        plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in task)
        number = "".join(filter(str.isdigit, run)) or "1"
        return self._send(FOUND_S, "update", "select all", f"filename {{task:{plain}}} {{run:{number}}}", "start")

    def stop(self) -> str:
        """Stop the recording; what went wrong, or ""."""
        return self._send(STOPPED_S, "stop")

    def _send(self, patience_s: float, *commands: str) -> str:
        try:
            with socket.create_connection(self._address, CONNECT_S) as connection:
                connection.sendall("".join(f"{command}\n" for command in commands).encode())
                _answers(connection, len(commands), patience_s)
        except OSError as error:
            host, port = self._address
            return f"LabRecorder at {host}:{port} cannot be reached: {error.strerror or error}"
        return ""


def _answers(connection: socket.socket, count: int, patience_s: float) -> None:
    """Wait for the answers to so many commands; a program that gives none has so long to read them."""
    heard, end = b"", time.monotonic() + patience_s
    with contextlib.suppress(TimeoutError):
        while heard.count(OK) < count and (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            said = connection.recv(64)
            if not said:
                return
            heard += said
