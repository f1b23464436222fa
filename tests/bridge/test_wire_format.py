"""The wire format: what is refused and how, and that its page says the truth."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from helpers_reception import FakeReceiver, Memory, image, wait_until
from hypothesis import given
from hypothesis import strategies as st

from bridge import wire
from bridge.wire import Answer, Bye, FrameHeader, Hello, PeerError, Verdict
from engine.accounting import Cause, Step

PAGE = (Path(__file__).parents[2] / "docs" / "wire-format.md").read_text(encoding="utf-8")
FRAME: dict[str, Any] = {
    "v": 1, "type": "frame", "stream": 5, "first": 0, "counter": 7, "after": 6, "shape": [48, 64], "dtype": "uint16",
}  # fmt: skip
pack = msgspec.msgpack.encode


def test_the_bytes_of_the_page_are_a_frame() -> None:
    listing = PAGE.split("<!-- example: checked by the tests -->")[1].split("```")[1]
    code = [re.split(r" {3,}\"| {3,}map", line)[0] for line in listing.splitlines()]
    data = bytes.fromhex("".join("".join(line.split()) for line in code))
    header = wire.decode(data)
    assert header == FrameHeader(stream=1234567890, first=0, counter=7, after=6, shape=(2, 4), dtype="uint8")
    assert f"{len(data)} bytes" in PAGE


@pytest.mark.parametrize("kind", [Hello, FrameHeader, Bye, Answer])
def test_every_key_is_on_the_page(kind: type[msgspec.Struct]) -> None:
    assert [name for name in kind.__struct_fields__ if f"`{name}`" not in PAGE] == []
    assert [verdict.value for verdict in Verdict if f"`{verdict.value}`" not in PAGE] == []


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not msgpack"),
    "a text": (b"GET / HTTP/1.1\r\n\r\n", "not a map|not msgpack"),
    "no map": (pack([1, 2]), "not a map"),
    "a version of tomorrow": (pack(FRAME | {"v": 2}), "version 2; this receiver speaks version 1"),
    "a version that changed everything": (pack({"v": 3, "kind": 7}), "version 3"),
    "no type": (pack({"v": 1}), "type"),
    "another type": (pack({"v": 1, "type": "picture"}), "picture"),
    "no stream": (pack({k: v for k, v in FRAME.items() if k != "stream"}), "stream"),
    "a negative counter": (pack(FRAME | {"counter": -1}), "counter"),
    "a counter beyond all": (pack(FRAME | {"counter": 2**60}), "counter"),
    "an empty shape": (pack(FRAME | {"shape": [0, 4]}), "shape"),
    "a colour": (pack(FRAME | {"shape": [4, 4, 3]}), "shape"),
    "a giant": (pack(FRAME | {"shape": [2**20, 2**20]}), "shape"),
    "after itself": (pack(FRAME | {"after": 7}), "after"),
    "first after it": (pack(FRAME | {"first": 8, "after": None}), "first"),
    "a range backwards": (pack(FRAME | {"gave_up": [[5, 4, 1]]}), "range"),
    "a range without end": (pack(FRAME | {"gave_up": [[0, 2**50, 1]]}), "range"),
    "another's cause": (pack(FRAME | {"gave_up": [[5, 5, 5]]}), "cause 5"),
    "too many ranges": (pack(FRAME | {"gave_up": [[0, 0, 1]] * 1001}), "1001 ranges"),
    "a long file name": (pack(FRAME | {"file_name": "µ" * 100}), "file_name"),
    "a lot of extra": (pack(FRAME | {"extra": {"x": "y" * 600}}), "extra"),
    "a long header": (pack(FRAME | {"note": "y" * 70_000}), "at most 65536"),
    "text that is none": (b"\x81\xa1v\xa2\xff\xff", "not"),
    "nested too deep": (b"\x91" * 5000, "not"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_headers_are_refused_with_a_reason(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(PeerError, match=message):
        wire.decode(data)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_receiver(data: bytes) -> None:
    for start in (b"", pack(FRAME)[:40]):
        with suppress(PeerError):
            wire.decode(start + data)
        with suppress(PeerError):
            wire.decode_answer(start + data)


class Stranger:
    """A DEALER that says what it likes."""

    def __init__(self, address: str) -> None:
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.connect(address)

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self._context.term()

    def ask(self, *parts: bytes) -> Answer:
        self.socket.send_multipart(parts)
        assert self.socket.poll(5000), "no answer"
        return wire.decode_answer(self.socket.recv())


def test_messages_that_are_not_ours_are_refused_and_the_run_goes_on() -> None:
    memory = Memory()
    pixels = image(7).tobytes()
    with FakeReceiver(memory) as receiver, Stranger(receiver.address) as stranger:
        for name, (data, _) in BAD.items():
            answer = stranger.ask(data, b"some pixels", b"and more")
            assert (answer.verdict, answer.counter) == (Verdict.REFUSED, -1), name
        assert stranger.ask(b"").verdict is Verdict.REFUSED
        good = FRAME | {"first": 7, "after": None}
        assert stranger.ask(pack(good), pixels).verdict is Verdict.TAKEN
        assert receiver.counts["foreign"] >= len(BAD)
    assert memory.counters == [7]
    assert len(receiver.logged) < 60


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([b"x" * 100], "came with 100 bytes of pixels; 6144 were announced"),
        ([b"x" * 6145], "came with 6145 bytes"),
        ([b"x" * 6144, b"y"], "and 1 bytes more in further parts"),
        ([b"", b"y" * 6144], "more in further parts"),
    ],
    ids=["too few", "too many", "a part too many", "in the wrong part"],
)
def test_pixels_that_do_not_match_their_header_are_refused_by_number(parts: list[bytes], message: str) -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Stranger(receiver.address) as stranger:
        good = image(1).tobytes()
        stranger.ask(pack(FRAME | {"counter": 0, "after": None}), good)
        answer = stranger.ask(pack(FRAME | {"counter": 1, "after": 0}), *parts)
        assert answer.verdict is Verdict.REFUSED
        assert message in answer.why
        assert stranger.ask(pack(FRAME | {"counter": 2, "after": 1}), good).verdict is Verdict.TAKEN
    assert memory.counters == [0, 2]
    assert memory.lost == [(1, 1, Step.RECEIVER, Cause.REFUSED)]
    assert (memory.frames[1][2] == 1).all()


def test_a_wanted_frame_without_pixels_is_asked_for_again() -> None:
    memory = Memory()
    with FakeReceiver(memory) as receiver, Stranger(receiver.address) as stranger:
        header = pack(FRAME | {"counter": 0, "after": None})
        for parts in ([header], [header, b""]):
            answer = stranger.ask(*parts)
            assert (answer.verdict, answer.next) == (Verdict.AGAIN, 0)
        assert stranger.ask(header, image(1).tobytes()).verdict is Verdict.TAKEN
        assert stranger.ask(header, b"").verdict is Verdict.TAKEN
    assert memory.counters == [0]
    assert memory.losses == []


def test_the_cpp_sender_of_the_page_compiles_and_sends(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    libraries = [*Path(zmq.__file__).parent.parent.glob("pyzmq.libs/libzmq*.so*")]
    if compiler is None or not libraries:
        pytest.skip("NOT TESTED: the C++ listing of docs/wire-format.md (no g++, or pyzmq without its own libzmq)")
    listing = PAGE.split("<!-- listing: compiled and run by the tests -->")[1].split("```cpp")[1].split("```")[0]
    (tmp_path / "camera.cpp").write_text(listing)
    (tmp_path / "zmq.h").write_text(ZMQ_H)  # what of the real one is used: the library is pyzmq's own
    library = libraries[0]
    subprocess.run(
        [compiler, "-std=c++17", "-Wall", "-I.", "camera.cpp", str(library), f"-Wl,-rpath,{library.parent}",
         "-Wl,--allow-shlib-undefined", "-o", "camera"],
        cwd=tmp_path, check=True, timeout=60,
    )  # fmt: skip
    memory = Memory()
    with FakeReceiver(memory) as receiver, subprocess.Popen([tmp_path / "camera", receiver.address]) as camera:
        wait_until(lambda: camera.poll() is not None, 20)
        assert camera.returncode == 0
    assert memory.counters == [n for n in range(100) if not 40 <= n < 45]
    assert all((pixels == known.counter).all() for known, _, pixels in memory.frames)
    assert memory.lost == [(40, 44, Step.CAMERA, Cause.CAMERA_SKIPPED)]
    assert receiver.counts["byes"] == 1


ZMQ_H = f"""
#pragma once
#include <cstddef>
#define ZMQ_DEALER {int(zmq.DEALER)}
#define ZMQ_SNDHWM {int(zmq.SNDHWM)}
#define ZMQ_LINGER {int(zmq.LINGER)}
#define ZMQ_IMMEDIATE {int(zmq.IMMEDIATE)}
#define ZMQ_POLLIN {int(zmq.POLLIN)}
#define ZMQ_DONTWAIT {int(zmq.DONTWAIT)}
#define ZMQ_SNDMORE {int(zmq.SNDMORE)}
typedef struct {{ void *socket; int fd; short events; short revents; }} zmq_pollitem_t;
extern "C" {{
void *zmq_ctx_new(void); int zmq_ctx_term(void *); void *zmq_socket(void *, int); int zmq_close(void *);
int zmq_setsockopt(void *, int, const void *, size_t); int zmq_connect(void *, const char *);
int zmq_send(void *, const void *, size_t, int); int zmq_recv(void *, void *, size_t, int);
int zmq_poll(zmq_pollitem_t *, int, long);
}}
"""
