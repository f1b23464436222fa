"""What comes over the wire and is not right: refused, counted, reported to the sender, and the run goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import zmq

from bridge import Sender, wire
from bridge.wire import Answer, FrameHeader, Hello, Verdict
from tests.system.running import Laboratory, diffusing, wait_until

SHAPE_HW = (120, 160)
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 50},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
    "experiment": {"max_lost": 10},
}


class Stranger:
    """A socket that says anything."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(address)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._context.term()

    def say(self, *parts: bytes) -> Answer:
        self._socket.send_multipart(parts)
        assert self._socket.poll(10_000), "no answer"
        return wire.decode_answer(self._socket.recv())


def versioned(version: int) -> bytes:
    raw = msgspec.msgpack.decode(wire.encode(Hello(stream=5)))
    return msgspec.msgpack.encode(raw | {"v": version})


def test_a_run_refuses_what_is_not_right_and_goes_on(lab: Laboratory) -> None:
    frames = diffusing(20, 30, SHAPE_HW, seed=1)
    wrong = {
        10: np.zeros((SHAPE_HW[0], SHAPE_HW[1] + 2), np.uint16),  # a region was drawn anew in the camera software
        15: np.zeros(SHAPE_HW, np.uint8),
    }
    with lab.started(lab.settings(SETTINGS)) as run:
        refused: list[str] = []
        with Stranger(run.address) as stranger:
            for said, parts in {
                "not one of our messages": (b"GET / HTTP/1.1\r\n",),
                "speaks version 1": (versioned(2),),
                "msgpack": (b"\xff" * 100, b"and a second part"),
                "at most 65536": (b"\x80" * 70_000,),
            }.items():
                answer = stranger.say(*parts)
                assert answer.verdict is Verdict.REFUSED
                assert said in answer.why
        with Sender(run.address, source="by hand", live=False, on_done=lambda o: refused.append(o.why)) as sender:
            for n, image in enumerate(frames):
                sender.send(wrong.get(n, image), n)
            statistics = sender.close(20)
        assert (statistics.taken, statistics.refused) == (28, 2)
        assert statistics.closed
        complaints = [why for why in refused if why]
        assert len(complaints) == 2
        assert "frame 10 is 162x120 uint16; this run takes 160x120 uint16" in complaints[0]
        assert "frame 15 is 160x120 uint8" in complaints[1]
        counters = run.rings.block("receiver").counters()
        assert (counters["foreign"], counters["refused"], counters["received"]) == (4, 2, 28)
        ended = run.stop()
    assert ended.status == 0, ended.stderr
    assert ended.counts == (28, 28, 28, 2)
    table = ended.record.frames_table
    assert list(table["frame"]) == list(range(30))
    lost = table[table["state"] == "lost"]
    assert list(lost["frame"]) == [10, 15]
    assert set(lost["step"]) == {"receiver"}
    assert set(lost["cause"]) == {"refused"}
    said = [line["message"] for line in ended.log if line["process"] == "receiver" and line["level"] == "warning"]
    assert any("refused: frame 10 is 162x120" in text for text in said)
    assert any("not ours" in text for text in said)


def test_pixels_that_do_not_match_their_header_are_refused(lab: Laboratory) -> None:
    """Too few bytes, too many, and parts that nobody announced; the slot that they touched is used again."""
    image = diffusing(20, 1, SHAPE_HW, seed=2)[0]
    whole = image.tobytes()
    stream = wire.new_stream("by hand", "here")

    def header(counter: int) -> bytes:
        after = counter - 1 if counter else None
        return wire.encode(
            FrameHeader(stream=stream, first=0, counter=counter, after=after, live=False, shape=SHAPE_HW,
                        dtype="uint16")
        )  # fmt: skip

    with lab.started(lab.settings(SETTINGS)) as run, Stranger(run.address) as camera:
        assert camera.say(wire.encode(Hello(stream=stream, live=False))).verdict is Verdict.WELCOME
        verdicts = [
            camera.say(header(0), whole).verdict,
            camera.say(header(1), whole[:-2]).verdict,
            camera.say(header(2), whole + b"xx").verdict,
            camera.say(header(3), whole, b"more").verdict,
            camera.say(header(4), whole).verdict,
        ]
        assert verdicts == [Verdict.TAKEN, *[Verdict.REFUSED] * 3, Verdict.TAKEN]
        wait_until(lambda: run.published == 2, "both frames to be tracked")
        ended = run.stop()
    assert ended.counts == (2, 2, 2, 3)
    tracks = ended.record.tracks
    first, last = (tracks[tracks["frame"] == n] for n in (0, 4))
    np.testing.assert_array_equal(first[["x", "y"]], last[["x", "y"]])
