"""LabRecorder's remote control: a line of text for each command, over TCP (port 22345 by default).

Faults are no reason to stop tracking: every command says whether it went through.
"""

from __future__ import annotations

import socket

CONNECT_S = 1.0


class LabRecorder:
    """Starts and stops the recording of another program. Nothing is opened before the first command."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def start(self, task: str, run: str) -> str:
        """Select all streams, name the file after the run, start; what went wrong, or ""."""
        plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in task)
        number = "".join(filter(str.isdigit, run)) or "1"
        return self._send("update", "select all", f"filename {{task:{plain}}} {{run:{number}}}", "start")

    def stop(self) -> str:
        """Stop the recording; what went wrong, or ""."""
        return self._send("stop")

    def _send(self, *commands: str) -> str:
        try:
            with socket.create_connection(self._address, CONNECT_S) as connection:
                for command in commands:
                    connection.sendall(command.encode() + b"\n")
        except OSError as error:
            host, port = self._address
            return f"LabRecorder at {host}:{port} cannot be reached: {error.strerror or error}"
        return ""
