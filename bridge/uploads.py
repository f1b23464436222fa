"""Uploads: frames that a control client sends into a run, as the run's camera would.

A `Sender` is opened with the first image and kept: while it speaks no other source can, and it says bye when the client
is closed or names another source. Every call waits for what became of its frame, so none is lost in silence.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.outcomes import Outcome
from bridge.sender import Sender
from bridge.wire import Verdict
from engine.addresses import USUAL, is_loopback, local_name, parse_address
from engine.errors import PeerError, SettingsError
from engine.keys import keys_folder


class Uploads:
    """The sender of a client. Not for two threads at once."""

    def __init__(self, asked_at: str, timeout_s: float, keys: Path | None) -> None:
        """`asked_at`: the address at which the client reaches the control server; `keys`: its keys, if it has some."""
        self._asked_at, self._timeout_s, self._keys = asked_at, timeout_s, keys
        self._sender: Sender | None = None
        self._key: tuple[str, str, str] = ("", "", "")  # what the sender is for: run, address, source
        self._outcomes: list[Outcome] = []

    def upload(self, image: NDArray[Any], source: str, run_id: str, camera: dict[str, Any]) -> int:
        """Send one frame and wait for its answer; its number in the run.

        `camera`: the settings of the run. Raises SettingsError (it is no such frame), PeerError (another source speaks,
        nobody answers, or the frame was refused).
        """
        pixels = fitting(image, camera)
        sender = self._open(source, run_id, receiver_address(camera["listen"], self._asked_at), camera)
        self._outcomes.clear()
        counter = sender.send(pixels, timeout_s=self._timeout_s)
        if not sender.flush(self._timeout_s):
            trouble = sender.statistics.trouble or "there is no room for it: tracking is behind"
            self.close()
            raise PeerError(f"the image was not taken within {self._timeout_s:g} s: {trouble}")
        outcome = next(one for one in reversed(self._outcomes) if one.counter == counter)
        if outcome.verdict is not Verdict.TAKEN:
            raise PeerError(f"the image was not taken: {outcome.why}")
        return outcome.frame

    def close(self) -> None:
        """Say bye for the source."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(self._timeout_s)

    def _open(self, source: str, run_id: str, address: str, camera: dict[str, Any]) -> Sender:
        if self._sender is not None and self._key == (run_id, address, source):
            return self._sender
        self.close()
        sender = Sender(
            address, source=source, live=False, fps=camera["fps"], shape=(camera["height"], camera["width"]),
            dtype=camera["dtype"], on_done=self._outcomes.append,
            keys=(self._keys or keys_folder()) if camera.get("encrypt") else None,
        )  # fmt: skip
        sender.__enter__()
        try:
            sender.connect(self._timeout_s)
        except BaseException:
            sender.close(0.0)
            raise
        self._sender, self._key = sender, (run_id, address, source)
        return sender


def fitting(image: Any, camera: dict[str, Any]) -> NDArray[Any]:
    """The image as it is sent. Raises SettingsError if it is none that the run takes."""
    array = np.asanyarray(image)
    height, width, dtype = camera["height"], camera["width"], camera["dtype"]
    wanted = f"this run takes {width} x {height} {dtype}"
    if array.ndim != 2:
        hint = ". Send one channel of a colour image" if array.ndim == 3 else ""
        raise SettingsError(f"an image has rows and columns, this array has {array.ndim} axes; {wanted}{hint}")
    if array.shape != (height, width) or array.dtype.name != dtype:
        raise SettingsError(f"an image of {array.shape[1]} x {array.shape[0]} {array.dtype.name}; {wanted}")
    return np.ascontiguousarray(array.astype(dtype, copy=False))


def receiver_address(listen: str, asked_at: str) -> str:
    """Where frames go to: the run's `camera.listen`, by the name under which its control server was reached.

    Raises PeerError if the receiver listens for its own machine alone and the client is on another one.
    """
    there = re.fullmatch(r"tcp://(.+):\d+", asked_at)
    asked_host = there[1] if there else "127.0.0.1"  # a name of this machine
    host, port = parse_address(USUAL if local_name(listen) else listen)
    if host in ("*", "0.0.0.0", "[::]", "::"):
        return f"tcp://{asked_host}:{port}"
    if is_loopback(host) and not is_loopback(asked_host.strip("[]")):
        raise PeerError(
            f"camera.listen: {listen} takes frames from the tracking machine alone; to send from another computer the "
            f'run has to listen wider (camera.listen = "tcp://*:{port}")'
        )
    return listen
