"""Parts around the light: the lamp of the simulated camera, delay by correlation, logbook, evenness, patterns."""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bridge.slm.conductor import Conductor
from bridge.slm.delay import find_delay, response
from bridge.slm.displays.base import Picture
from bridge.slm.displays.publisher import WATCHDOG_S, Publisher
from bridge.slm.holding import Command, Seen
from bridge.slm.hologram import Holograms, Trap
from bridge.slm.logbook import Logbook
from bridge.slm.orders import Errand, Office
from bridge.slm.refining import Refiner
from bridge.slm.registration import register
from bridge.slm.rules import Rules
from bridge.sources.lit import Lamp, LitCamera, LitScene, shares
from engine.cli.slm import read_pattern, write_pattern
from engine.clocks import NS, monotonic_ns
from engine.errors import PeerError, SettingsError
from engine.light import SLM_ROW
from engine.physics.bead import Bead
from engine.physics.plant import Plant
from recorders.slm import read_slm

CAMERA = np.array([[0.0, 0], [128, 0], [0, 128], [100, 90]])
REGISTRATION = register(CAMERA, (CAMERA - 64) * 0.2, 0)


def test_the_light_that_the_simulated_camera_sees_is_the_far_field_of_the_hologram():
    holograms = Holograms(96, 64, seed=3)
    traps = [Trap(x=5.3, y=-7.1), Trap(x=-11, y=3.4, intensity=2.0), Trap(x=2, y=12)]
    levels = holograms.superposition_levels(traps)
    phase = (levels.astype(np.float32) - 128) * np.float32(2 * math.pi / 256)
    expected = holograms.quality(phase, traps).intensities
    assert shares(levels, np.array([(t.x, t.y) for t in traps])) == pytest.approx(expected, rel=1e-3)


def test_the_lamp_is_on_while_it_hears_of_the_display_and_dark_when_it_does_not():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    display = Publisher(address)
    display.open()
    holograms = Holograms(64, 64)
    traps = [Trap(x=4.0, y=-3.0)]
    picture = Picture(traps=traps, levels=holograms.superposition_levels(traps))
    scene = LitScene(light=address, pixel_um=0.1, stiffness_pN_um=3.0, light_delay_ms=5.0)
    with Lamp(scene, REGISTRATION) as lamp:
        for _ in range(500):
            sent = monotonic_ns()  # it is heard after this and before now, however long either takes
            display.show(picture)
            lamp.wait(monotonic_ns() + NS // 100)
            changes = list(lamp.changes(monotonic_ns()))
            if len(lamp.now[0]):
                break
        assert changes[0][1] == pytest.approx(REGISTRATION.pixels(np.array([[4.0, -3.0]])) * 0.1)
        assert lamp.now[1][0] == pytest.approx(3.0, rel=0.02)
        assert list(lamp.changes(sent + round(0.5 * WATCHDOG_S * NS))) == []
        list(lamp.changes(monotonic_ns() + round(1.5 * WATCHDOG_S * NS)))
        assert len(lamp.now[0]) == 0
        display.close()


def test_a_bead_follows_light_that_changes_within_a_frame_time():
    class OneChange(Lamp):
        def __init__(self):
            self.now = (np.array([[0.0, 0.0]]), np.array([1e4]))

        def changes(self, until_ns: int):
            yield 6_000_000, np.array([[0.5, 0.0]]), np.array([1e4])

    plant = Plant(Bead(), np.zeros((1, 2)), seed=1)
    seen = LitCamera._expose(plant, OneChange(), 0, 10_000_000, 2_000_000)
    assert seen[0] == pytest.approx((0.5, 0.0), abs=0.01)


@pytest.mark.parametrize("options", [{"light": "udp://x"}, {"light": "tcp://127.0.0.1:1", "registration": "/none"}])
def test_a_lit_camera_needs_an_address_and_the_true_registration(options):
    with pytest.raises(SettingsError, match="registration=FILE"):
        LitCamera(options)


@pytest.mark.parametrize("delay_ms, tau_ms", [(0.0, 3.0), (17.0, 3.0), (42.5, 30.0), (90.0, 8.0)])
def test_the_delay_from_display_to_camera_is_found_by_correlation(delay_ms, tau_ms):
    chance = np.random.default_rng(5)
    commands = np.cumsum(chance.uniform(250, 400, 20))
    light = np.where(np.arange(20) % 2, 2.0, 0.0)
    frames = np.arange(0.0, commands[-1] + 300, 10.0)
    seen = response(commands + delay_ms, light, frames, tau_ms) + chance.normal(0, 0.1, len(frames))
    found = find_delay(commands, light, frames, seen)
    assert found.delay_ms == pytest.approx(delay_ms, abs=max(1.5, 3 * found.error_ms))
    assert found.error_ms < 3
    with pytest.raises(ValueError, match="does not follow"):
        find_delay(commands, light, frames, chance.normal(0, 1, len(frames)))


def _command(number: int) -> Command:
    conductor = Conductor(Rules(), REGISTRATION)
    seen = Seen(number, 10 * number, np.array([4], np.int64), np.array([[50.0, 60.0]]))
    conductor.frame(seen, 0.0)
    conductor.trap(particle=4)
    return conductor.frame(seen, 0.0)


def test_each_process_of_the_light_writes_a_part_and_half_a_row_is_left_out(tmp_path: Path):
    assert read_slm(tmp_path) is None
    for frames in (range(3), range(3, 5)):
        with Logbook(tmp_path) as book:
            for n in frames:
                book.write(_command(n), "showing", True, 10 * n + 7)
    parts = sorted((tmp_path / "slm").glob("*.rows"))
    assert len(parts) == 2
    parts[0].write_bytes(parts[0].read_bytes()[: -SLM_ROW.itemsize // 2])  # killed while it wrote
    rows = read_slm(tmp_path)
    assert rows is not None
    assert rows["frame"].tolist() == [0, 1, 3, 4]
    assert set(rows["age_ns"].tolist()) == {7}
    assert rows["particle"].tolist() == [4] * 4
    assert rows["x"].tolist() == [50.0] * 4


def test_traps_that_stand_still_are_made_even_in_the_background_and_moving_ones_are_left():
    holograms = Holograms(96, 96, seed=4)
    traps = [Trap(x=3 * i - 10.0, y=2 * j - 5.0) for i in range(4) for j in range(3)]
    phase = holograms.superposition(traps)
    before = holograms.quality(phase, traps).uniformity
    with Refiner(holograms) as refiner:
        assert not refiner.step([Trap(x=1, y=1), Trap(x=5, y=1)])
        end = time.monotonic() + 20
        found = 0
        while found < 5 and time.monotonic() < end:
            found += refiner.step(traps)
            threading.Event().wait(0.002)
    after = holograms.quality(holograms.superposition(traps), traps).uniformity
    assert before < 0.9 < 0.95 < after


def test_a_pattern_is_written_once_and_read_back(tmp_path: Path):
    path = tmp_path / "grid.toml"
    write_pattern(path, [(1.0, 2.5), (3.25, 4.0)])
    assert read_pattern(path) == [(1.0, 2.5), (3.25, 4.0)]
    with pytest.raises(SettingsError, match="already"):
        write_pattern(path, [])
    path.write_text("places = [[1, 2, 3]]")
    with pytest.raises(SettingsError, match="is written as"):
        read_pattern(path)


def test_an_order_is_answered_refused_or_said_to_have_no_taker():
    run_id = f"test{os.getpid()}"

    def do(order: str, values: object) -> dict[str, object]:
        if order == "bad":
            raise SettingsError("no")
        return {"did": order}

    nobody, errand = Errand(run_id + "x"), Errand(run_id)
    began = time.monotonic()
    unheard = nobody.send("arm", {})
    assert nobody.poll(unheard, False) is None
    assert time.monotonic() - began < 0.2, "the control server has others to answer meanwhile"
    with pytest.raises(PeerError, match="not there"):
        nobody.poll(unheard, True)
    with Office(run_id, do) as office:
        numbers = {order: errand.send(order, {}) for order in ("arm", "bad")}
        end = time.monotonic() + 10
        answers: dict[str, object] = {}
        while len(answers) < 2 and time.monotonic() < end:
            office.step()
            for order, number in numbers.items():
                try:
                    found = errand.poll(number, False)
                except SettingsError as error:
                    answers[order] = str(error)
                else:
                    if found:
                        answers[order] = found
    assert answers == {"arm": {"did": "arm"}, "bad": "no"}
    nobody.close()
    errand.close()
