"""Every display is put through the same rules; each kind is then looked at from the other side."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import zmq

from bridge.slm.displays import Display, Simulated, open_display, tweezers
from bridge.slm.displays.base import DisplayError, Picture
from bridge.slm.displays.publisher import Publisher, Said
from bridge.slm.displays.tweezers import RedTweezers, packet
from bridge.slm.displays.vendor import Vendor
from bridge.slm.hologram import Trap
from engine.clocks import NS, monotonic_ns
from engine.errors import SettingsError

LEVELS = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
PICTURE = Picture(traps=[Trap(x=1.5, y=-2, intensity=0.5), Trap(x=3, y=4)], levels=LEVELS, frame=7, command=3)


def free_port(kind: int) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SimulatedSLM:
    """Has the calls of a driver of slmsuite."""

    def __init__(self, resolution: tuple[int, int]) -> None:
        self.shape = resolution[::-1]
        self.phase = np.zeros(self.shape)
        LAST.append(self)

    def set_phase(self, phase: np.ndarray, settle: bool) -> None:
        if phase.shape != self.shape:
            raise ValueError("shape")
        self.phase = phase

    def close(self) -> None:
        self.phase = np.zeros(0)


LAST: list[SimulatedSLM] = []


@pytest.fixture(params=["simulated", "udp", "tcp", "slmsuite"])
def display(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Display]:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    monkeypatch.setitem(sys.modules, "driver_of_a_vendor", sys.modules[__name__])
    text = {
        "simulated": "simulated",
        "udp": f"udp://127.0.0.1:{listener.getsockname()[1]}",
        "tcp": f"tcp://127.0.0.1:{free_port(socket.SOCK_STREAM)}",
        "slmsuite": "slmsuite:driver_of_a_vendor:SimulatedSLM",
    }
    display = open_display(text[request.param], 64, 48)
    yield display
    display.close()
    listener.close()


def test_a_display_opens_shows_goes_dark_and_closes_twice_without_complaint(display):
    display.open()
    for _ in range(3):
        display.show(PICTURE)
        display.look()
        display.blank()
    display.close()
    display.close()


@pytest.mark.parametrize("text", ["window", "window:x", "slmsuite:a", "http://x", ""])
def test_what_is_no_display_is_refused_with_what_there_is(text):
    with pytest.raises(SettingsError, match="window:SCREEN"):
        open_display(text, 64, 48)


def test_red_tweezers_knows_when_an_engine_that_has_ended_was_last_there(monkeypatch):
    monkeypatch.setattr(tweezers, "AGAIN_S", 60)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as engine:
        engine.bind(("127.0.0.1", 0))
        display = RedTweezers(f"udp://127.0.0.1:{engine.getsockname()[1]}")
        display.open()
        began_ns = monotonic_ns()
        display.show(PICTURE)
    ended_ns = monotonic_ns()

    def show_and_look() -> None:
        """The refusal comes with the sending, or a moment later."""
        display.show(PICTURE)
        while monotonic_ns() < ended_ns + 5 * NS:
            display.look()

    with pytest.raises(DisplayError, match="nobody listens") as gone:
        show_and_look()
    assert began_ns <= gone.value.t_there_ns < ended_ns
    display.close()


def test_red_tweezers_is_told_the_number_of_traps_and_sixteen_numbers_of_each():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as engine:
        engine.bind(("127.0.0.1", 0))
        engine.settimeout(5)
        display = RedTweezers(f"udp://127.0.0.1:{engine.getsockname()[1]}")
        display.open()
        display.show(PICTURE)
        text = engine.recv(65536).decode()
        display.blank()
        dark = engine.recv(65536).decode()
        display.close()
        engine.recv(65536)
    assert text.startswith("<data>\n<uniform id=0>\n2\n</uniform>\n<uniform id=2>\n")
    assert text.endswith("</data>")
    numbers = [float(v) for v in text.split("<uniform id=2>")[1].split("</uniform>")[0].split()]
    assert len(numbers) == 32
    assert numbers[:5] == [1.5, -2, 0, 0, 0.5]
    assert numbers[10] == 1
    assert numbers[20] == 1
    assert dark.split("<uniform id=2>")[1].split()[4] == "0.000000"
    display.open()
    with pytest.raises(DisplayError, match="room for"):
        display.show(Picture(traps=[Trap(x=1, y=1)] * 900, levels=None))
    display.close()
    assert len(packet([])) < 400


def test_a_subscriber_gets_traps_and_levels_and_hears_that_we_live():
    address = f"tcp://127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    display = Publisher(address)
    display.open()
    context = zmq.Context()
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"")
    subscriber.connect(address)

    def heard(what: str) -> tuple[Said, list[bytes]]:
        for _ in range(400):
            if what == "show":
                display.show(PICTURE)
            display.look()
            while subscriber.poll(5):
                parts = subscriber.recv_multipart()
                said = msgspec.msgpack.decode(parts[0], type=Said)
                if said.what == what:
                    return said, parts[1:]
        raise AssertionError(what)

    try:
        assert not heard("alive")[0].showing
        said, levels = heard("show")
        assert said.traps == list(PICTURE.traps)
        assert said.shape == (48, 64)
        assert said.frame == 7
        assert (np.frombuffer(levels[0], np.uint8).reshape(48, 64) == LEVELS).all()
        assert heard("alive")[0].showing
        with pytest.raises(DisplayError, match="cannot be had"):
            Publisher(address).open()
        display.close()
        assert heard_blank(subscriber)
    finally:
        display.close()
        subscriber.close(linger=0)
        context.term()


def heard_blank(subscriber: zmq.Socket[bytes]) -> bool:
    while subscriber.poll(3000):
        if msgspec.msgpack.decode(subscriber.recv_multipart()[0], type=Said).what == "blank":
            return True
    return False


def test_a_driver_of_slmsuite_is_given_the_phase_of_the_levels(monkeypatch):
    monkeypatch.setitem(sys.modules, "driver_of_a_vendor", sys.modules[__name__])
    display = Vendor("driver_of_a_vendor:SimulatedSLM", 64, 48)
    display.open()
    assert (LAST[-1].phase == 0).all()
    display.show(PICTURE)
    assert np.allclose(LAST[-1].phase, (LEVELS.astype(float) - 128) * 2 * np.pi / 256, atol=1e-5)
    display.close()
    for driver, says in (("no_such_module_here:X", "missing"), ("driver_of_a_vendor:Nothing", "has no Nothing")):
        with pytest.raises(DisplayError, match=says):
            Vendor(driver, 64, 48).open()


def test_a_display_that_is_gone_says_so():
    display = Simulated()
    display.open()
    display.why_gone = "unplugged"
    for call in (display.blank, display.look, lambda: display.show(PICTURE)):
        with pytest.raises(DisplayError, match="unplugged"):
            call()


WINDOW = """
import numpy, pygame
from bridge.slm.displays import open_display
from bridge.slm.displays.base import DisplayError, Picture
levels = numpy.arange(48 * 64, dtype=numpy.uint8).reshape(48, 64)
for screen, size, says in ((7, (64, 48), "no screen 7"), (0, (4000, 48), "the modulator 4000")):
    try:
        open_display(f"window:{screen}", *size).open()
    except DisplayError as error:
        assert says in str(error), error
    else:
        raise AssertionError(says)
window = open_display("window:0", 64, 48)
window.open()
assert pygame.display.get_desktop_sizes()[0] == (320, 200)
def pixels():
    return pygame.surfarray.array3d(pygame.display.get_surface())[:64, :48, 0].T
assert (pixels() == 128).all()
window.show(Picture(traps=[], levels=levels))
assert (pixels() == levels).all()
window.look()
window.blank()
assert (pixels() == 128).all()
pygame.event.post(pygame.event.Event(pygame.QUIT))
try:
    window.look()
except DisplayError as error:
    print(error)
window.close()
"""


@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed here")
def test_a_window_shows_the_levels_pixel_by_pixel_and_says_when_it_was_closed(tmp_path: Path):
    pytest.importorskip("pygame")
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "320x200x24", "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            timer = threading.Timer(20, server.kill)
            timer.start()
            number = os.read(read, 16).decode().strip()
            timer.cancel()
            timer.join()
            environment = os.environ | {"DISPLAY": f":{number}", "SDL_VIDEODRIVER": "x11"}
            done = subprocess.run([sys.executable, "-c", WINDOW], env=environment, capture_output=True, text=True)
        finally:
            server.terminate()
            os.close(read)
    assert done.returncode == 0, done.stderr
    assert "the window was closed" in done.stdout
