"""People who look badly, for a while: a window that is stopped, a page that never says that it drew, a deaf client."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from typing import Any

import msgspec
import pytest
import tornado.websocket
import zmq

from bridge.control import local_address
from tests.system.running import Laboratory, _command, free_port, wait_until

FRAMES = 600


@pytest.mark.faults
def test_whoever_looks_badly_costs_no_frame(lab: Laboratory) -> None:
    port = free_port()
    settings = lab.settings(
        camera={"width": 400, "height": 400, "fps": 50.0},
        tracking={"diameter": 11, "separation": 12, "minmass": 300.0, "max_ecc": 0.0},
        web={"enabled": True, "listen": f"127.0.0.1:{port}"},
    )
    with lab.started(settings, "--source", "simulated?beads=30&frames=1000000", "--fps", "50") as run:
        wait_until(lambda: run.published > 10, "frames")
        address = local_address(run.plan.run_id)
        pictures = lab.folder / "pictures"
        window = subprocess.Popen(
            _command("monitor", address, "--png", "every", "200ms", "--out", pictures), env=lab.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        context = zmq.Context()
        deaf = context.socket(zmq.DEALER)
        deaf.setsockopt(zmq.LINGER, 0)
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.connect(address)
        over = threading.Event()
        silent = threading.Thread(target=lambda: asyncio.run(_never_acknowledge(port, over)))
        silent.start()
        try:
            wait_until(lambda: list(pictures.glob("*.png")), "the monitor's first picture", 60)
            window.send_signal(signal.SIGSTOP)
            for number in range(300):
                deaf.send(msgspec.msgpack.encode({"ask": "latest", "v": 1, "id": number}), zmq.NOBLOCK)
            start = run.published
            wait_until(lambda: run.published > start + FRAMES, "frames in spite of them", 120)
        finally:
            over.set()
            window.kill()
            window.wait()
            silent.join()
            deaf.close()
            context.term()
        ended = run.stop()
    assert ended.status == 0, ended.stderr
    assert ended.summary["frames_lost"] == 0
    for step in ended.summary["accounting"]:
        assert step["arrived"] == step["out"] + step["lost"] + step["in_flight"]
        assert step["lost"] == 0
    assert not [line for line in ended.log if line["level"] == "error"]


async def _never_acknowledge(port: int, over: threading.Event) -> None:
    """Take the first picture, and never ask for another; come again when the server has had enough."""
    while not over.is_set():
        socket: Any = await tornado.websocket.websocket_connect(f"ws://127.0.0.1:{port}/socket")
        await socket.write_message(json.dumps({"want": {"most_px": 400, "fps": 60.0}}))
        for _ in range(100):
            if over.is_set():
                break
            await asyncio.sleep(0.05)
        socket.close()
        while await asyncio.wait_for(socket.read_message(), 10) is not None:
            pass  # until the server has closed its end, too
