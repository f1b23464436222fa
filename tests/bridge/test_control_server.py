"""The control server and its clients over a real socket and real shared memory, without the rest of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from bridge import Client
from bridge import control_wire as wire
from bridge.control import local_address
from bridge.desk import LARGEST_RESULTS, Desk
from bridge.figures import Figures
from bridge.looking import Look, Looker
from bridge.monitor.feed import LiveFeed
from bridge.web.prometheus import as_text
from engine.accounting import Cause, Step
from engine.clocks import monotonic_ns
from engine.errors import PeerError, SettingsError
from engine.process import Job
from engine.rows import RESULT_META, ROW
from tests.bridge.helpers_control import served
from tests.bridge.helpers_rings import free_port


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Job]:
    with served(tmp_path / "run") as job:
        yield job


def ask(job: Job, message: Any) -> wire.Answer:
    """What a program that wrote its own client is told."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(local_address(job.run_id))
        socket.send(message if isinstance(message, bytes) else msgspec.msgpack.encode(message))
        assert socket.poll(5000), "no answer"
        return msgspec.msgpack.decode(socket.recv_multipart()[0], type=wire.Answer)


def test_a_request_that_is_none_is_answered_with_whose_fault_it_is(run: Job) -> None:
    answer = ask(run, {"ask": "fly", "id": 7})
    assert (answer.id, answer.blame, answer.run_id) == (7, "request", run.run_id)
    assert "there is no request 'fly'" in answer.error
    other = ask(run, {"ask": "hello", "v": 2, "id": 8})
    assert (other.id, other.blame) == (8, "version")
    assert "version 2 of the control protocol; this server speaks 1" in other.error
    assert ask(run, b"\xff\x00").blame == "request"


def test_a_program_hears_of_its_mistakes_as_settings_errors_and_of_another_release_as_the_others(run: Job) -> None:
    with Client(local_address(run.run_id)) as client:
        with pytest.raises(SettingsError, match=r"latest: most_px = -1 is not allowed; it must be a whole number, at"):
            client.get_latest_image(most_px=-1)
        with pytest.raises(SettingsError, match=r"save_stack: name = '\.\./x' is not allowed; it must be 1 to"):
            client.save_stack("../x")
        with pytest.raises(wire.OtherVersionError, match="Install the same release"):
            client.call(wire.Hello(v=2))
        assert client.hello()["run_folder"] == str(run.run_folder), "the run and the client go on"


def test_a_region_outside_of_the_frame_is_refused_unless_it_is_to_be_clipped(run: Job) -> None:
    with Client(local_address(run.run_id)) as client:
        for region in ((0, 10, 60, 70), (10, 5, 0, 10), (-1, 5, 0, 10), (0, 0, 0, 5)):
            with pytest.raises(SettingsError, match=r"0 <= y0 < y1 <= 48 \(rows\) and 0 <= x0 < x1 <= 64 \(columns\)"):
                client.get_latest_image(region=region)
        for region, clip in (((0, 48, 0, 64), False), ((0, 10, 60, 70), True)):
            with pytest.raises(PeerError, match="there is no frame yet"):
                client.get_latest_image(region=region, clip=clip)


def test_what_is_so_already_makes_no_version_and_undo_says_what_came_back(run: Job) -> None:
    with Client(local_address(run.run_id)) as client:
        now = client.settings()
        same = client.configure({"tracking.minmass": now.tracking.minmass})
        assert (same.version, same.changes) == (1, {})
        assert not (run.run_folder / "events.jsonl").exists(), "nothing was noted"
        changed = client.configure_tracking(minmass=444)
        assert (changed.version, changed.changes) == (2, {"tracking.minmass": 444.0})
        undone = client.undo()
        assert (undone.version, undone.changes) == (3, {"tracking.minmass": now.tracking.minmass})
        with pytest.raises(SettingsError, match="no earlier version"):
            client.undo()
        with pytest.raises(
            SettingsError, match=r"minmass: no such key \(this change\)\. Did you mean tracking\.minmass\?"
        ):
            client.configure({"minmass": 3})


def test_notes_and_marks_are_in_the_events_with_their_kind(run: Job) -> None:
    with Client(local_address(run.run_id)) as client:
        client.note("new sample")
        assert client.mark("laser on") == -1, "there is no frame yet"
    events = [json.loads(line) for line in (run.run_folder / "events.jsonl").read_text().splitlines()]
    assert [(one["event"], one["message"]) for one in events] == [("note", "new sample"), ("mark", "laser on")]


def test_a_client_that_means_one_run_is_refused_by_another_at_the_same_address(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with served(tmp_path / "one", address) as first, Client(address) as client:
        client.note("for whoever is there")
        assert client.run_id == first.run_id
    with served(tmp_path / "two", address) as second, Client(address, run_id=first.run_id) as faithful:
        for wish in (lambda: faithful.note("for the first alone"), lambda: next(faithful.results())):
            with pytest.raises(
                PeerError, match=f"the run {first.run_id[:6]} is not here any more: another one, {second.run_id[:6]}"
            ):
                wish()
        assert not (second.run_folder / "events.jsonl").exists()


def test_a_window_that_meets_another_run_at_its_address_asks_anew_who_is_there(tmp_path: Path) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with served(tmp_path / "one", address) as first, Client(address, timeout_s=2) as client:
        run_id, feed = client.hello() and client.run_id, LiveFeed(address)
        assert run_id == first.run_id
        assert feed._fetch_results(client, run_id, 41) == 41
    with served(tmp_path / "two", address), Client(address, timeout_s=2) as client:
        assert client.metrics(), "whoever is there answers"
        with pytest.raises(PeerError, match="is not here any more"):
            feed._fetch_results(client, run_id, 41)


def test_results_of_two_runs_at_one_address_are_never_mixed() -> None:
    """The place of the last result is sent with the run that it is of."""
    asked: list[wire.Results] = []

    class Scripted(Client):
        def call(self, request: wire.AnyRequest) -> Any:
            assert isinstance(request, wire.Results)
            asked.append(request)
            self.run_id = "first"
            return {"after": 41, "missed": 0, "closed": len(asked) == 2, "frames": []}, {}

    assert list(Scripted().results()) == []
    assert [(one.after, one.run) for one in asked] == [(None, ""), (41, "first")]


class Crowded(Looker):
    """600 results of 4000 particles each."""

    def __init__(self) -> None:
        """It has no rings."""

    @property
    def newest(self) -> int:
        return 599

    def first_kept(self) -> int:
        return 0

    def result(self, place: int) -> Look:
        meta = dict.fromkeys(
            ("sequence", "settings", "t_camera_ns", "t_received_ns", "t_tracked_ns", "t_published_ns", "state"), 0
        )
        return Look(place, meta | {"frame": 1000 + place}, np.zeros(4000, ROW), None, 1)


def test_an_answer_with_results_has_a_largest_size_and_the_next_one_goes_on_from_there(run: Job) -> None:
    with closing(Desk(run)) as desk:
        desk._looker = Crowded()
        after, places = 99, []
        for _ in range(3):
            found, arrays = desk.handle(wire.Results(after=after, most=512))
            assert arrays["rows"].nbytes < LARGEST_RESULTS + 4000 * ROW.itemsize + 1
            assert len(arrays["rows"]) == sum(frame["rows"] for frame in found["frames"])
            places += [frame["place"] for frame in found["frames"]]
            after = found["after"]
    assert len(places) > 100
    assert places == list(range(100, 100 + len(places)))


@pytest.mark.parametrize(("seconds_ago", "rate"), [(0.0, 50.0), (30.0, 0.0)])
def test_who_looks_for_the_first_time_is_told_the_rate_of_the_last_second(
    run: Job, seconds_ago: float, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    metas = np.zeros(20, RESULT_META)
    metas["t_published_ns"] = metas["t_received_ns"] = monotonic_ns() - int(seconds_ago * 1e9)
    metas["t_published_ns"] -= 20_000_000 * np.arange(20)[::-1]
    figures = Figures(run.rings)
    monkeypatch.setattr(figures._looker, "metas", lambda count: metas)
    assert figures.metrics()["process_rate"] == rate


def test_losses_are_counted_once_though_their_records_go(run: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.figures.MOST_RECORDS", 3)
    figures, ledger = Figures(run.rings), run.rings.ledger
    for first in range(0, 40, 10):
        ledger.append(first, first + 1, 0, 0, Step.SENDER, Cause.SENDER_RESTARTED)
        ledger.append(first + 5, first + 5, 0, 0, Step.RECEIVER, Cause.SENDER_RESTARTED)
        lost = {step["step"]: step["lost"] for step in figures.accounting()}
    assert (lost["camera"], lost["sender"], lost["receiver"]) == (0, 8, 4)
    assert figures.metrics()["lost"] == 12
    assert [one["first"] for one in figures.losses(2)] == [30, 35]


NAMES = (
    "frame_count", "track_count", "process_rate", "error_count", "mean_ms", "peak_ms", "queue_depth",
    "worker_utilisation",
)  # fmt: skip


def test_metrics_have_their_names_for_clients_and_for_prometheus(run: Job) -> None:
    with Client(local_address(run.run_id)) as client:
        metrics = client.metrics()
    assert set(NAMES) <= set(metrics)
    for step in ("network", "tracking", "linking", "total"):
        assert {"p50", "p99"} <= set(metrics["step_ms"][step])
    text = as_text(metrics, viewers=0)
    for name in NAMES:
        assert f"\nringtrack_{name}" in text, name
    assert 'ringtrack_step_seconds{step="tracking",quantile="0.99"} 0' in text
    names = [line.split()[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))


def test_a_port_that_is_taken_names_the_remedy_and_the_run_is_steered_all_the_same(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as other:
        port = other.bind_to_random_port("tcp://127.0.0.1")
        with served(tmp_path / "run", f"tcp://127.0.0.1:{port}") as job, Client(local_address(job.run_id)) as client:
            (warning,) = [line["message"] for line in client.log() if line["level"] == "warning"]
    assert f"control.listen: tcp://127.0.0.1:{port} is in use" in warning
    assert f"--set control.listen=tcp://127.0.0.1:{port + 10}" in warning


def test_the_time_of_a_take_stands_still_while_it_is_paused(run: Job) -> None:
    with Client(local_address(run.run_id)) as client:
        client.record("stop")
        taken = client.record("start", "short", for_s=60)
        assert taken["until_ns"] - taken["since_ns"] == 60 * 10**9
        paused = client.record("pause")
        assert paused["until_ns"] == 0
        assert 0 < 60 * 10**9 - paused["left_ns"] < 30 * 10**9
        resumed = client.record("resume")
        assert resumed["until_ns"] - resumed["since_ns"] == paused["left_ns"]
        assert (resumed["left_ns"], resumed["name"]) == (0, "short")
