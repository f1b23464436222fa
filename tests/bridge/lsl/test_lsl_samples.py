"""Samples and descriptions of the streams: arithmetic, without LSL."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

from bridge.lsl.describe import ROW_FIELDS, STATS, streams
from bridge.lsl.inbox import NewEvents
from bridge.lsl.incoming import Incoming, NumberFile, stamped
from bridge.lsl.labrecorder import LabRecorder
from bridge.lsl.machine import configure
from bridge.lsl.outlets import Outlets
from bridge.lsl.samples import Sampler
from engine.experiment import Experiment
from engine.rows import RESULT_META, ROW
from tests.bridge.lsl.fake_labrecorder import FakeLabRecorder


def experiment(*settings: str) -> Experiment:
    return Experiment.load(None, ["lsl.enabled=true", *settings], environ={})


def meta(frame: int, sequence: int = 0) -> np.ndarray:
    record = np.zeros((), RESULT_META)
    record["frame"], record["sequence"] = frame, sequence
    return record


def rows(*particles: tuple[int, float, float]) -> np.ndarray:
    table = np.zeros(len(particles), ROW)
    for row, (particle, x, y) in zip(table, particles):
        row["particle"], row["x"], row["y"] = particle, x, y
    return table


def test_absent_particles_are_nan_and_the_frame_number_leads():
    sampler = Sampler(experiment("lsl.groups=3", 'lsl.fields=["x", "y"]'))
    sample = sampler.frame_sample(meta(5), rows((8, 1.0, 2.0), (9, 3.0, 4.0))).particles[0]
    assert sample.tolist()[:7] == [5, 8, 1.0, 2.0, 9, 3.0, 4.0]
    assert np.isnan(sample[7:]).all()
    sample = sampler.frame_sample(meta(6), rows((9, 5.0, 6.0))).particles[0]
    assert np.isnan(sample[1:4]).all()
    assert sample[4:7].tolist() == [9, 5.0, 6.0]


def test_positions_are_micrometres_once_the_camera_is_calibrated_but_never_in_the_rows():
    calibrated = experiment("camera.pixel_um=0.1", "lsl.groups=1", 'lsl.fields=["x", "mass"]', "lsl.rows=true")
    made = Sampler(calibrated).frame_sample(meta(0), rows((0, 10.0, 0.0)))
    assert made.particles[0].tolist() == [0, 0, 1.0, 0]
    assert made.rows is not None
    assert made.rows[0, 2] == 10.0
    found = streams(calibrated)
    assert [c.unit for c in found["particles"].channels] == ["frames", "none", "micrometers", "counts"]
    assert found["rows"].channels[2].unit == "pixels"


def test_more_particles_than_groups_are_counted_and_the_rows_have_them_all():
    made = Sampler(experiment("lsl.groups=2", "lsl.rows=true")).frame_sample(
        meta(0), rows(*[(i, 0.0, 0.0) for i in range(5)])
    )
    assert made.overflow == 3
    assert made.rows is not None
    assert made.rows.shape == (5, 2 + len(ROW_FIELDS))


def test_gaps_and_new_sequences_are_events():
    sampler = Sampler(experiment())
    sampler.frame_sample(meta(0), rows((1, 0.0, 0.0)))
    events = [json.loads(e) for e in sampler.frame_sample(meta(4), rows((1, 0.0, 0.0))).events]
    assert events == [{"event": "gap", "frame": 4, "first": 1, "last": 3}]
    events = [json.loads(e) for e in sampler.frame_sample(meta(5, sequence=1), rows((2, 0.0, 0.0))).events]
    assert [e["event"] for e in events] == ["sequence", "lost", "given"]
    assert sampler.frame_sample(meta(6, sequence=1), rows((2, 0.0, 0.0))).events == []


def test_streams_are_described_by_the_settings_alone_and_are_the_same_each_time():
    one, other = streams(experiment("lsl.name=bench")), streams(experiment("lsl.name=bench"))
    assert one == other
    assert list(one) == ["particles", "stats", "events"]
    assert one["particles"].source_id == "lab/microscope/bench_particles"
    assert len(one["particles"].channels) == 1 + 32 * 6
    assert len({c.label for c in one["particles"].channels}) == 193
    assert one["stats"].channels == STATS


@pytest.mark.parametrize(
    "setting, says",
    [
        ('lsl.fields=["x", "z"]', 'a particle has no "z"; it has x, y'),
        ('lsl.fields=["x", "x"]', "stands there twice"),
        ("lsl.reserved=33", "more than lsl.groups"),
        ("lsl.labrecorder=nowhere", "no address"),
        ("lsl.labrecorder=10.0.0.2:22345", "another computer"),
    ],
)
def test_settings_that_make_no_streams_are_refused(setting, says):
    with pytest.raises(Exception, match=says):
        experiment(setting)


def test_nothing_leaves_this_computer_unless_it_was_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    environ: dict[str, str] = {}
    assert configure(False, "test", environ) == "on this computer alone"
    text = open(environ["LSLAPICFG"]).read()  # noqa: PTH123, SIM115
    assert "ResolveScope = machine" in text
    assert "KnownPeers = {127.0.0.1}" in text
    assert configure(True, "test", {}) == "in the whole network"
    assert configure(False, "test", {"LSLAPICFG": "/own.cfg"}) == "as /own.cfg says"


def test_events_of_others_are_read_once_and_only_when_whole(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "old", "t_ns": 1}\n')
    events = NewEvents(tmp_path)
    with path.open("a") as file:
        file.write('nonsense\n{"event": "note", "t_ns": 2}\n{"event": "ha')
    assert [e["event"] for e in events.read()] == ["note"]
    with path.open("a") as file:
        file.write('lf", "t_ns": 3}\n')
    assert [e["event"] for e in events.read()] == ["half"]
    assert events.read() == []


def test_numbers_of_a_stream_go_on_after_a_crash_within_a_record(tmp_path):
    file = NumberFile(tmp_path, "laser power", ["mW"], ["milliwatts"])
    file.append(np.array([1, 2]), np.array([[10.0], [11.0]]))
    file.close()
    path = tmp_path / "streams" / "laser_power.rows"
    path.write_bytes(path.read_bytes()[:-3])
    file = NumberFile(tmp_path, "laser power", ["mW"], ["milliwatts"])
    file.append(np.array([3]), np.array([[12.0]]))
    file.close()
    assert np.fromfile(path, stamped(1))["t_ns"].tolist() == [1, 3]


def test_labrecorder_hears_its_own_commands_and_its_absence_is_only_said():
    with FakeLabRecorder() as fake:
        recorder = LabRecorder("127.0.0.1", fake.port)
        assert recorder.start("my beads", "run_007") == ""
        assert recorder.stop() == ""
    assert fake.heard == ["update", "select all", "filename {task:my_beads} {run:007}", "start", "stop"]
    assert "cannot be reached" in recorder.stop()


def test_commands_are_read_to_the_last_by_a_labrecorder_that_takes_its_time():
    """A connection that is closed while an answer is on its way is reset, and what was not read yet is gone."""
    with FakeLabRecorder(delay_s=0.1) as fake:
        assert LabRecorder("127.0.0.1", fake.port).start("beads", "run_001") == ""
    assert fake.heard[-1] == "start"
    assert fake.broken == []


def test_samples_of_another_width_are_not_handed_to_liblsl():
    outlets = Outlets.__new__(Outlets)
    outlets._channels, outlets._open = {"stats": 8}, {"stats": object()}
    with pytest.raises(ValueError, match="8 channels of stats"):
        outlets.push("stats", np.zeros((1, 7)), 1.0)


class OnlyALaser:
    """In the place of pylsl, in a laboratory where one stream is, of the name laser."""

    class ContinuousResolver:
        def __init__(self, prop: str, value: str) -> None:
            pass

        def results(self) -> list[object]:
            return []

    class Info:
        def name(self) -> str:
            return "laser"

    def resolve_streams(self, wait_time: float) -> list[Info]:
        return [self.Info()]


def test_a_stream_whose_name_is_misspelt_is_complained_of_while_there_is_time_and_at_the_end(tmp_path):
    said: list[str] = []
    complained = threading.Event()

    def log(level: str, text: str) -> None:
        said.append(f"{level} {text}")
        complained.set()

    with Incoming(OnlyALaser(), ("lazer",), tmp_path, lambda *_: None, log, patience_s=0.0):
        assert complained.wait(10)
    assert "warning lsl.record: no stream is named lazer so far (there: laser)" in said[0]
    assert said[1:] == ["warning lsl.record: the stream lazer never appeared: nothing of it is in the file"]
