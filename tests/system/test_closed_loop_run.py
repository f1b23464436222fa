"""The whole loop on one machine: simulated beads in the light of the run that tracks them; and what breaks it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import pytest

from bridge import AsyncClient, Client
from bridge.control import local_address
from bridge.slm.client import LightClient
from bridge.slm.process import STATES
from bridge.slm.registration import Optics, register
from engine.clocks import utc_ns
from engine.errors import SettingsError
from tests.system.running import Ended, Laboratory, Running, free_port, wait_until

SIZE, MODULATOR = 256, 128
FPS = 50.0


def laboratory(folder: Path, web: Mapping[str, Any] | None = None, **slm: Any) -> tuple[Laboratory, Path, str]:
    """Its settings and its source: 9 beads, 256 x 256, in the light that the run publishes."""
    lab = Laboratory(folder)
    camera = np.array([[0.0, 0], [SIZE, 0], [0, SIZE], [SIZE, SIZE]])
    made = register(camera, (camera - SIZE / 2) * 0.16, utc_ns(), Optics(region=(0, 0, SIZE, SIZE)))
    registration = lab.folder / "registration.json"
    registration.write_bytes(msgspec.json.encode(made))
    display = f"tcp://127.0.0.1:{free_port()}"
    settings = lab.settings(
        camera={"width": SIZE, "height": SIZE, "fps": FPS, "pixel_um": 0.1},
        tracking={"diameter": 13, "separation": 14, "minmass": 4000, "percentile": 90, "max_ecc": 0.0, "workers": 1},
        linking={"search_range": 8},
        web=dict(web or {}),
        slm={
            "enabled": True, "display": display, "width": MODULATOR, "height": MODULATOR, "clearance": 20.0,
            "farthest": 6.0,
            "registration": str(registration), "reach_um": 0.8, "stiffness_pN_um": 2.0, "hold_s": 0.3, "blank_s": 1.0,
        } | slm,
    )  # fmt: skip
    scene = {
        "beads": 9, "fps": FPS, "seed": 2, "distance_px": 50, "light": display, "registration": str(registration),
        "stiffness_pN_um": 4, "reach_um": 0.8, "exposure_ms": 5,
    }  # fmt: skip
    return lab, settings, "simulated?" + urlencode(scene)


def caught(light: LightClient) -> None:
    """Armed, and every bead in a trap."""
    wait_until(lambda: light.state()["frame"] > 5, "frames")
    light.arm()
    light.catch()

    def all_held() -> bool:
        traps = light.state()["traps"]
        if len(traps) == 9 and all(trap["hold"] == "held" for trap in traps):
            return True
        if empty := [trap["trap"] for trap in traps if trap["hold"] != "held"]:
            light.release(empty)
        light.catch()
        threading.Event().wait(0.3)
        return False

    wait_until(all_held, "9 beads in traps")


@contextmanager
def looping(folder: Path, **slm: Any) -> Iterator[tuple[Laboratory, Running, Client]]:
    lab, settings, source = laboratory(folder, **slm)
    with lab.started(settings, "--source", source) as run, Client(local_address(run.plan.run_id)) as client:
        yield lab, run, client


def light_of(run: Running) -> str:
    return STATES[run.rings.block("slm").counters()["state"]]


def display_gone(run: Running) -> dict[str, Any] | None:
    """What the process of the light wrote into the run's events when its display was gone, with its own times."""
    lines = map(json.loads, (run.folder / "events.jsonl").read_text().splitlines())
    return next((line for line in lines if line["event"] == "slm state" and "t_there_ns" in line), None)


@dataclass
class Story:
    """What happened in the one run that all tests here look at."""

    ended: Ended
    facts: dict[str, Any] = field(default_factory=dict)


PATTERN = [(78.0 + 50 * i, 78.0 + 50 * j) for j in range(3) for i in range(3)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    facts: dict[str, Any] = {}
    with looping(tmp_path_factory.mktemp("light"), refine=True) as (lab, run, client):
        light = client.slm
        wait_until(lambda: run.published > 5, "frames")
        facts["at first"] = light.state()
        caught(light)
        with pytest.raises(SettingsError) as refused:
            light.feedback("p", 1.9)
        facts["refused"] = str(refused.value)
        facts["chosen"] = light.assemble(PATTERN)
        light.wait()
        facts["assembled"] = wait_until(lambda: _settled(light.state()), "beads that have come to rest")
        facts["awaited"] = asyncio.run(_awaited(run))
        saved = lab.command("slm", "save", str(lab.folder / "nine.toml"))
        facts["pattern"] = (saved.status, (lab.folder / "nine.toml").read_text())
        facts["state"] = lab.command("slm", "state", "--json").summary
        light.move({facts["chosen"][0]: (58.0, 61.0)})  # off the grid, on whose places all the others' ghosts are
        light.wait()
        light.feedback("p", 0.2)  # the light of every trap moves with every frame
        light.trap(trap=facts["chosen"][0], intensity=1e-3)  # too weak to hold: its bead diffuses away
        left = wait_until(partial(_frozen, light, facts["chosen"][0]), "a bead that has left its trap")
        wait_until(lambda: (_frozen(light, facts["chosen"][0]) or 0) > left + 20, "a bead that is away")
        run.kill("slm")
        wait_until(lambda: run.rings.block("slm").counters()["state"] == STATES.index("unarmed"), "an unarmed light")
        facts["after the kill"] = wait_until(lambda: _state(client), "the next process of the light")
        ended = run.stop()
    return Story(ended, facts)


async def _awaited(run: Running) -> dict[str, Any]:
    """A trap set and given up by the client for asyncio; the light as it was with it, and after it."""
    async with AsyncClient(local_address(run.plan.run_id)) as client:
        trap = await client.slm.trap(20, 20)
        state = await client.slm.wait(10)
        await client.slm.release([trap])
        return {"trap": trap, "state": state, "left": await client.slm.state()}


def _settled(state: dict[str, Any]) -> dict[str, Any] | None:
    """The state, once every bead is within three standard deviations of its place (and a pixel for tracking)."""
    off = [np.hypot(t["seen"][0] - t["x"], t["seen"][1] - t["y"]) if t["seen"] else 99.0 for t in state["traps"]]
    return state if max(off) < 3.5 else None


def _frozen(light: LightClient, trap: int) -> int | None:
    """The newest frame, once that trap is frozen."""
    state = light.state()
    return state["frame"] if any(t["trap"] == trap and t["hold"] == "frozen" for t in state["traps"]) else None


def _state(client: Client) -> dict[str, Any] | None:
    from engine.errors import PeerError

    try:
        return client.slm.state()
    except PeerError:
        return None


def test_the_light_is_unarmed_at_the_start_and_after_a_kill_and_remembers_no_traps(story):
    for moment_of in ("at first", "after the kill"):
        assert story.facts[moment_of]["state"] == "unarmed"
        assert story.facts[moment_of]["traps"] == []
    assert story.ended.status == 0


def test_beads_are_caught_and_assembled_and_none_is_lost(story):
    traps = {trap["trap"]: trap for trap in story.facts["assembled"]["traps"]}
    for number, place in zip(story.facts["chosen"], PATTERN, strict=True):
        assert traps[number]["hold"] == "held"
        assert (traps[number]["x"], traps[number]["y"]) == pytest.approx(place)
        assert np.linalg.norm(np.subtract(traps[number]["seen"], place)) < 4


def test_the_client_for_asyncio_orders_traps_too(story):
    number, state, left = (story.facts["awaited"][name] for name in ("trap", "state", "left"))
    places = {trap["trap"]: (trap["x"], trap["y"]) for trap in state["traps"]}
    assert len(places) == 10
    assert places[number] == pytest.approx((20, 20))
    assert number not in {trap["trap"] for trap in left["traps"]}


def test_a_gain_that_would_oscillate_is_refused_with_the_measured_delay(story):
    assert "it must be at most" in story.facts["refused"]


def test_every_command_is_in_the_file_with_its_frame_and_age_from_both_processes(story):
    rows = story.ended.record.slm
    frames = story.ended.record.frames_table.set_index("frame")
    assert len(rows) > 200
    assert (rows["t_camera_ns"].to_numpy() == frames.loc[rows["frame"], "t_camera_ns"].to_numpy()).all()
    assert (rows["age_ns"] == rows["t_command_ns"] - rows["t_camera_ns"]).all()
    assert (rows.groupby("command")["frame"].nunique() <= 2).all()  # two processes count from 1
    shown = rows[rows["shown"] == 1]
    assert set(shown["state"]) == {"showing"}
    tracks = story.ended.record.tracks.set_index(["frame", "particle"])
    seen = shown[shown["held"] == 1].head(300)
    expected = tracks.loc[list(zip(seen["frame"], seen["particle"])), ["x", "y"]].to_numpy()
    assert np.array_equal(seen[["x", "y"]].to_numpy(), expected)


def test_a_lost_particle_freezes_its_trap_with_the_very_frame_that_misses_it_and_no_other_trap(story):
    rows, chosen = story.ended.record.slm, story.facts["chosen"]
    tracks = story.ended.record.tracks.set_index(["frame", "particle"])
    ways = {trap: of.reset_index(drop=True) for trap, of in rows[rows["shown"] == 1].groupby("trap")}
    mine = ways[chosen[0]]
    lost = int(mine.index[(mine["held"] == 0) & (mine["intensity"] < 0.5)][0])
    before, first = mine.loc[lost - 1], mine.loc[lost]
    assert before["held"] == 1
    where = tracks["x"].get((first["frame"], first["particle"])), tracks["y"].get((first["frame"], first["particle"]))
    assert where[0] is None or np.hypot(where[0] - before["light_x"], where[1] - before["light_y"]) > 8.0  # its reach
    moved = np.hypot(mine["light_x"].diff(), mine["light_y"].diff())
    frozen = (mine["held"] == 0) & (mine.index >= lost)
    assert frozen.sum() >= 2  # it may come back, and leave again
    assert (moved[frozen] == 0).all()
    farthest = np.hypot(mine["x"] - mine["light_x"].shift(), mine["y"] - mine["light_y"].shift())
    assert farthest[mine["held"] == 1][1:].max() < 8.0 + 2.0  # its reach and a step: nothing farther is called held
    assert set(mine["particle"][lost - 1 :]) == {before["particle"]}  # and nobody else's
    other = ways[chosen[8]]
    meanwhile = other[other["frame"].between(first["frame"], mine["frame"].max())]
    assert (meanwhile["held"] == 1).mean() > 0.9
    assert (np.hypot(meanwhile["light_x"].diff(), meanwhile["light_y"].diff())[1:] > 0).mean() > 0.9


def test_orders_and_changes_of_the_light_are_events_of_the_run(story):
    events = story.ended.record.events
    assert {"slm", "slm state"} <= set(events["kind"])


def test_the_command_line_saves_a_pattern_and_says_what_the_light_does(story):
    status, text = story.facts["pattern"]
    assert status == 0
    assert "[78.00, 78.00]" in text
    assert story.facts["state"]["state"] == "showing"
    assert story.facts["state"]["latency_ms"]["p99"] > 0


def _subscriber(display: str) -> subprocess.Popen[str]:
    """A display program of one's own: prints what it is told, with the time."""
    program = (
        "import zmq,sys,time,msgspec\n"
        "s=zmq.Context().socket(zmq.SUB); s.subscribe(b''); s.setsockopt(zmq.RECONNECT_IVL,10)\n"
        "s.connect(sys.argv[1])\n"
        "while True:\n"
        "    said=msgspec.msgpack.decode(s.recv_multipart()[0])\n"
        "    print(said['what'], said['showing'], len(said['traps']), time.monotonic_ns(), flush=True)\n"
    )
    return subprocess.Popen([sys.executable, "-c", program, display], stdout=subprocess.PIPE, text=True)


@pytest.mark.faults
def test_killed_the_light_is_dark_within_a_second_and_a_half_and_unarmed(tmp_path):
    with looping(tmp_path) as (_, run, client):
        caught(client.slm)
        with _subscriber(run.plan.experiment.slm.display) as display:
            try:
                assert display.stdout is not None
                while not display.stdout.readline().startswith("alive True"):
                    pass
                killed_ns = _now()
                run.kill("slm")
                while not (line := display.stdout.readline()).startswith(("blank", "alive False")):
                    pass
                dark_ns = int(line.split()[-1])
            finally:
                display.kill()
        assert (dark_ns - killed_ns) / 1e9 < 1.5
        assert wait_until(lambda: _state(client), "the light")["state"] == "unarmed"


def _now() -> int:
    from engine.clocks import monotonic_ns

    return monotonic_ns()


@pytest.mark.faults
def test_stalled_data_hold_then_blank_the_light_in_time_and_fresh_data_do_not_bring_it_back(tmp_path):
    import os
    import signal

    with looping(tmp_path) as (_, run, client):
        caught(client.slm)
        sender = run.pid("sender")
        stalled_ns = _now()
        os.kill(sender, signal.SIGSTOP)
        try:
            wait_until(lambda: light_of(run) == "holding", "holding", 3)
            held_ns = _now()
            wait_until(lambda: light_of(run) == "blank", "blank", 3)
            blank_ns = _now()
        finally:
            os.kill(sender, signal.SIGCONT)
        assert 0.2 < (held_ns - stalled_ns) / 1e9 < 0.6
        assert 0.9 < (blank_ns - stalled_ns) / 1e9 < 1.4
        published = run.published
        wait_until(lambda: run.published > published + 20, "frames again")
        assert light_of(run) == "blank"
        wait_until(lambda: _armed(client.slm), "frames that are fresh")
        assert light_of(run) == "showing"


def _armed(light: LightClient) -> bool:
    """Arming is refused while what waited in the sender is sent: its frames are old."""
    try:
        light.arm()
    except SettingsError:
        return False
    return True


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["tracker", "linker"])
def test_a_killed_tracker_or_linker_costs_at_most_a_hold_and_no_bead(tmp_path, kind):
    with looping(tmp_path) as (_, run, client):
        caught(client.slm)
        before = {trap["trap"]: trap["particle"] for trap in client.slm.state()["traps"]}
        for _ in range(3):
            wanted = run.published + 30
            run.kill(run.working(kind)[0])
            wait_until(partial(lambda number: run.published > number, wanted), "frames again")
        state = client.slm.state()
        assert state["state"] == "showing"
        assert {trap["trap"]: trap["particle"] for trap in state["traps"] if trap["hold"] == "held"} == before


@pytest.mark.faults
def test_a_display_that_goes_away_disarms_and_is_taken_again_but_only_a_person_arms(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as engine:
        engine.bind(("127.0.0.1", 0))
        port = engine.getsockname()[1]
        with looping(tmp_path, display=f"udp://127.0.0.1:{port}") as (_, run, client):
            light = client.slm
            wait_until(lambda: light.state()["frame"] > 5, "frames")
            light.arm()
            light.catch()
            wait_until(lambda: light.state()["commands"] > 20, "commands")
            assert engine.recv(65536).startswith(b"<data>")
            assert display_gone(run) is None
            closing_ns = _now()
            engine.close()
            closed_ns = _now()
            gone = wait_until(lambda: display_gone(run), "a light that is told so", 5)
            assert gone["state"] == "unarmed"
            assert gone["t_there_ns"] < closed_ns
            assert closing_ns < gone["t_ns"]
            # The engine ended between these two times of one process, however late this test hears of it.
            assert (gone["t_ns"] - gone["t_there_ns"]) / 1e9 < 0.15
            assert light_of(run) == "unarmed"
            assert "nobody listens" in light.state()["why"]
            assert run.rings.block("slm").counters()["display_faults"] >= 1


@pytest.mark.long
def test_the_way_from_display_to_camera_is_measured_on_the_simulated_experiment(tmp_path):
    """Exposure 5 ms and frames 20 ms apart: light that jumps is in the picture within two frames, and not before."""
    with looping(tmp_path) as (lab, run, client):
        caught(client.slm)
        before = {trap["trap"]: (trap["x"], trap["y"]) for trap in client.slm.state()["traps"]}
        measured = lab.command("slm", "latency", "--run", str(run.plan.run_folder), "--json")
        assert measured.status == 0, measured
        found = measured.summary
        client.slm.wait()
        after = {trap["trap"]: (trap["x"], trap["y"]) for trap in client.slm.state()["traps"]}
        wait_until(lambda: run.published > 0, "frames")
    assert found["correlation"] > 0.5
    assert 0 <= found["display_to_camera_ms"] < 2e3 / FPS
    assert found["error_ms"] < 1e3 / FPS
    assert found["loop_ms"] == pytest.approx(found["display_to_camera_ms"] + found["camera_to_display_ms"]["p50"])
    assert after == before  # the trap is where it was
