"""A run that streams to LSL, with another process that records the streams into an XDF file, as LabRecorder would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bridge.client import Client
from bridge.control import local_address
from bridge.lsl.machine import LOOPBACK
from engine.errors import SettingsError
from recorders.xdf import read_tracks
from tests.bridge.lsl.fake_labrecorder import FakeLabRecorder
from tests.system.running import Laboratory, wait_until

pytest.importorskip("pylsl")
pyxdf = pytest.importorskip("pyxdf")
QUICK = """
[tuning]
WatchdogCheckInterval=0.5
WatchdogTimeThreshold=1.0
MulticastMinRTT=0.1
MulticastMaxRTT=0.5
UnicastMinRTT=0.1
UnicastMaxRTT=0.5
ContinuousResolveInterval=0.1
"""
"""An inlet looks for a stream that went away every 15 s unless told otherwise: most of what this test used to take."""
XDF = Path(__file__).parents[1] / "bridge" / "lsl" / "xdf.py"
SENDER = """
import mmap, pylsl, sys, threading
shared = open(sys.argv[1], "r+b")
light = mmap.mmap(shared.fileno(), 2)
info = pylsl.StreamInfo("laser", "Power", 2, 0, "double64", "lab/laser")
channels = info.desc().append_child("channels")
for label in ("power", "current"):
    channel = channels.append_child("channel")
    channel.append_child_value("label", label); channel.append_child_value("unit", "milliwatts")
numbers = pylsl.StreamOutlet(info)
marks = pylsl.StreamOutlet(pylsl.StreamInfo("paradigm", "Markers", 1, 0, "string", "lab/paradigm"))
print("ready", flush=True)
numbers.wait_for_consumers(60); marks.wait_for_consumers(60)
while not light[1]:
    threading.Event().wait(0.005)
for i in range(200):
    now = pylsl.local_clock()
    light[0] = i % 50 < 16
    numbers.push_sample([i, 2 * i], now)
    if i % 50 == 0:
        marks.push_sample([f"stimulus {i}"], now)
    threading.Event().wait(0.007)
print("sent", flush=True)
sys.stdin.read()
"""
"""A paradigm and a laser: a light that is switched on for a moment, a marker at the same instant, numbers besides."""
CAMERA = """
import mmap, sys, threading
import numpy as np
from bridge import Sender
from bridge.simulator import Simulator
from engine.clocks import monotonic_ns
shared = open(sys.argv[1], "r+b")
light = mmap.mmap(shared.fileno(), 2)
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
y, x = np.mgrid[:40, :160]
flash = (900 * np.exp(-((y - 20) ** 2 + (x - 80) ** 2) / 12.5)).astype(np.uint16)
beads = Simulator(width=160, height=160, beads=6, seed=3, distance_px=40, fps=100, loop=200).frames()
image = np.full((200, 160), 100, np.uint16)
with Sender(sys.argv[2], source="flash camera", fps=100) as sender:
    sender.connect(30)
    due = monotonic_ns()
    while not over.is_set():
        image[:160] = next(beads)[0]
        threading.Event().wait(max(0, due - monotonic_ns()) / 1e9)
        before, after = 0, 10**9
        while after - before > 200_000:  # an exposure is an instant: not one within which the system did other things
            before, lit, after = monotonic_ns(), light[0], monotonic_ns()
        image[160:] = 100 + (flash if lit else 0)
        sender.send(image, t_ns=before)
        light[1] = 1
        due = max(due + 10_000_000, before)
"""
"""A camera of six beads, and in a strip below them a spot while the light is on."""
BEADS_HEIGHT = 160


@contextmanager
def other_side(lab: Laboratory, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Another process of the laboratory, under its LSL configuration; its standard input ends with the block."""
    environment = lab.environment | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    with subprocess.Popen(
        [sys.executable, *command], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            if process.stdin is not None and not process.stdin.closed:
                process.stdin.close()
            process.wait(30)


def on_loopback(lab: Laboratory) -> None:
    path = lab.folder / "lsl_api.cfg"
    path.write_text(LOOPBACK.format(session=f"test{os.getpid()}") + QUICK)
    lab.environment["LSLAPICFG"] = str(path)


@pytest.fixture(scope="module")
def recording(shared_lab: Laboratory) -> dict[str, Any]:
    """A run of some seconds at 100 frames a second, its LSL process killed on the way, recorded on both sides."""
    lab = shared_lab
    on_loopback(lab)
    settings: dict[str, dict[str, Any]] = dict(
        experiment={"name": "beads"},
        camera={"width": 160, "height": 200, "fps": 100.0, "pixel_um": 0.1},
        tracking={"diameter": 13, "separation": 14, "minmass": 4000, "percentile": 90, "max_ecc": 0.0, "workers": 1},
        lsl={"enabled": True, "groups": 9, "reserved": 1, "rows": True, "record": ["laser", "paradigm"]},
    )
    xdf, light = lab.folder / "laboratory.xdf", lab.folder / "light"
    light.write_bytes(bytes(2))
    with (
        FakeLabRecorder() as labrecorder,
        lab.started(
            lab.settings(settings, lsl=settings["lsl"] | {"labrecorder": f"127.0.0.1:{labrecorder.port}"})
        ) as run,
        other_side(lab, str(XDF), "beads_", "4", str(xdf)) as listener,
    ):
        assert listener.stdout is not None
        assert listener.stdin is not None
        with other_side(lab, "-c", SENDER, str(light)) as sender:
            assert sender.stdout is not None
            assert sender.stdout.readline() == "ready\n"
            assert listener.stdout.readline() == "ready\n"
            with other_side(lab, "-c", CAMERA, str(light), run.address):
                assert sender.stdout.readline() == "sent\n"
                wait_until(lambda: run.published > 100, "frames before the kill")
                wait_until(
                    lambda: run.rings.block("lsl").counters()["samples_in"] == 200 + 4, "what was sent to be taken in"
                )
                first = run.kill("lsl")
                wait_until(lambda: run.pid("lsl") not in (0, first) and run.ready(), "the LSL process to be back")
                wait_until(
                    lambda: run.rings.block("lsl").counters().get("consumers") == 4, "the listener to rejoin", 60
                )
                rejoined = run.published
                wait_until(lambda: run.published > rejoined + 60, "more frames")
                with (run.folder / "events.jsonl").open("a") as events:
                    events.write('{"event": "choose", "particle": 2, "group": 0, "t_ns": 0}\n')
                chosen = run.published
                wait_until(lambda: run.published > chosen + 30, "frames with a chosen particle")
                with Client(local_address(run.plan.run_id)) as client:
                    off = client.configure_storage(lsl=False)
                wait_until(lambda: run.rings.block("lsl").counters().get("frames_off", 0) > 10, "frames without LSL")
        ended = run.stop()
        listener.stdin.close()
        listener.wait(60)
    streams, _ = pyxdf.load_xdf(str(xdf), synchronize_clocks=False)
    return {
        "ended": ended, "off": off, "labrecorder": labrecorder.heard, "xdf": xdf,
        "streams": {stream["info"]["name"][0]: stream for stream in streams},
    }  # fmt: skip


def test_the_streams_are_there_again_after_a_kill_and_the_gap_is_seen_in_the_frame_numbers(recording):
    numbers = recording["streams"]["beads_stats"]["time_series"][:, 0]
    gaps = np.flatnonzero(np.diff(numbers) > 1)
    assert (np.diff(numbers) > 0).all()
    assert len(gaps) == 1
    assert np.diff(numbers)[gaps[0]] < 500  # 5 s
    assert recording["ended"].summary["frames_lost"] == 0


def test_switched_off_the_streams_are_silent_and_the_run_goes_on(recording):
    off = recording["off"]
    assert off["outputs"]["lsl"] is False
    assert recording["streams"]["beads_stats"]["time_series"][-1, 0] == off["from_frame"] - 1
    assert recording["ended"].record.frames_array["frame"][-1] > off["from_frame"]


def test_the_xdf_read_back_equals_the_file_to_the_last_digit(recording):
    tracks = recording["ended"].record.tracks
    table = read_tracks(recording["xdf"], "beads")
    assert len(table) > 6 * 100
    streamed = tracks[tracks["frame"].isin(table["frame"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(table, streamed, check_exact=True)


def test_a_run_that_is_not_in_the_xdf_is_said_with_the_streams_that_are(recording):
    with pytest.raises(SettingsError, match=r"neither balls_rows nor balls_particles; streams in it: .*beads_rows"):
        read_tracks(recording["xdf"], "balls")


def test_stamps_are_the_camera_times_of_the_file(recording):
    frames = recording["ended"].record.frames_array
    stream = recording["streams"]["beads_particles"]
    at = stream["time_series"][:, 0].astype(int)
    difference_s = stream["time_stamps"] - frames["t_camera_ns"][at] / 1e9
    assert np.abs(difference_s).max() < 1e-3


def test_particles_keep_their_channels_and_are_in_micrometres(recording):
    stream = recording["streams"]["beads_particles"]
    tracks = recording["ended"].record.tracks
    blocks = stream["time_series"][:, 1:].reshape(-1, 9, 6)
    frame = stream["time_series"][:, 0].astype(int)
    channels = stream["info"]["desc"][0]["channels"][0]["channel"]
    assert [c["label"][0] for c in channels[:4]] == ["FrameNumber", "P0_ObjectId", "P0_x", "P0_y"]
    assert channels[2]["unit"][0] == "micrometers"
    assert stream["info"]["nominal_srate"][0] in ("0", "0.0", "0.000000000000000")
    file = tracks.set_index(["frame", "particle"])
    n, group = np.nonzero(~np.isnan(blocks[:, :, 0]))
    ids = blocks[n, group, 0].astype(int)
    expected = file.loc[list(zip(frame[n], ids))]
    np.testing.assert_allclose(blocks[n, group, 1], 0.1 * expected["x"], rtol=1e-12)
    assert len(n) == len(tracks[tracks["frame"].isin(frame)])


def test_a_chosen_particle_has_the_reserved_group_and_nobody_else_ever_has(recording):
    blocks = recording["streams"]["beads_particles"]["time_series"][:, 1:].reshape(-1, 9, 6)
    reserved, others = blocks[:, 0, 0], blocks[:, 1:, 0]
    given = np.flatnonzero(reserved == 2)
    assert np.isnan(reserved[: given[0]]).all()
    assert (reserved[given[0] :] == 2).all()
    assert len(given) > 10
    assert not (others[given] == 2).any()
    events = [json.loads(sample[0]) for sample in recording["streams"]["beads_events"]["time_series"]]
    assert [e["group"] for e in events if e["event"] == "given" and e["particle"] == 2][-1] == 0


def test_streams_of_others_are_in_the_file_with_their_times(recording):
    record = recording["ended"].record
    laser = record.streams["laser"]
    assert laser["power"].tolist() == list(range(200))
    assert laser["current"].tolist() == [2.0 * i for i in range(200)]
    assert (np.diff(laser["t_ns"]) > 0).all()
    markers = record.events[record.events["kind"] == "marker"]
    said = [json.loads(text)["message"] for text in markers["json"]]
    assert said == ["stimulus 0", "stimulus 50", "stimulus 100", "stimulus 150"]
    np.testing.assert_allclose(markers["t_ns"], laser["t_ns"][::50], atol=1000)


def test_a_marker_and_a_flash_of_the_same_instant_are_within_a_frame_of_each_other_in_the_file(recording):
    record = recording["ended"].record
    t_ns, tracks = record.frames_array["t_camera_ns"], record.tracks_array
    lit = np.unique(tracks["frame"][tracks["y"] > BEADS_HEIGHT])
    first = lit[np.diff(lit, prepend=-9) > 3]
    markers = record.events[record.events["kind"] == "marker"]["t_ns"].to_numpy()
    assert len(first) == len(markers) == 4
    assert (np.diff(lit) == 1).sum() > 4 * 5  # a flash lasts for many frames: it is no spot of noise
    slack_ns = 1_000_000
    assert (markers > t_ns[first - 1] - slack_ns).all()
    assert (markers < t_ns[first] + slack_ns).all()


def test_labrecorder_is_started_before_the_first_frame_once_and_stopped_at_the_end(recording):
    assert recording["labrecorder"] == ["update", "select all", "filename {task:beads} {run:001}", "start", "stop"]
