"""What LabRecorder's remote control does: reads lines of one connection after the other, answers each with "OK"."""

from __future__ import annotations

import socket
import threading


class FakeLabRecorder:
    """Listens at a free port while the block lasts; what it `heard`, and connections that were reset (`broken`)."""

    def __init__(self, delay_s: float = 0.0) -> None:
        """`delay_s` before each answer, as if it looked for streams."""
        self.heard: list[str] = []
        self.broken: list[str] = []
        self._delay_s = delay_s
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> FakeLabRecorder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with socket.create_connection(("127.0.0.1", self.port)):
            pass  # wakes the thread
        self._thread.join()
        self._server.close()

    def _listen(self) -> None:
        while not self._over.is_set():
            connection, _ = self._server.accept()
            with connection:
                waiting = b""
                try:
                    # A byte at a time: what was not asked for yet is with the system, as it is with a busy program.
                    while byte := connection.recv(1):
                        waiting += byte
                        if byte == b"\n":
                            self.heard.append(waiting.decode().strip())
                            waiting = b""
                            threading.Event().wait(self._delay_s)
                            connection.sendall(b"OK")
                except OSError as error:
                    self.broken.append(str(error))
