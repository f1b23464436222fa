"""The control server and its clients over a real socket and real shared memory, without the rest of a run."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq

from bridge import AsyncClient, Client, Sender
from bridge import control_wire as wire
from bridge import wire as wire_format
from bridge.control import COUNTERS, Server, local_address
from bridge.desk import LARGEST_RESULTS, Desk
from bridge.figures import Figures
from bridge.looking import Look, Looker
from bridge.monitor.feed import LiveFeed
from bridge.uploads import fitting, receiver_address
from bridge.web.prometheus import as_text
from engine.accounting import Cause, Step
from engine.clocks import monotonic_ns
from engine.errors import PeerError, SettingsError
from engine.experiment import Camera, Experiment
from engine.plan import Geometry, Plan, ProcessPlan
from engine.process import Job
from engine.rings import Rings
from engine.rows import RESULT_META, ROW
from tests.bridge.helpers_reception import FakeReceiver, Memory
from tests.bridge.helpers_rings import free_port

SHAPE = (48, 64)


@contextmanager
def served(folder: Path, listen: str = "tcp://127.0.0.1:0", camera: str = "tcp://127.0.0.1:1") -> Iterator[Job]:
    """A run that has a control server, in a thread, and no frames."""
    folder.mkdir(exist_ok=True)
    experiment = Experiment.load(None, ["ring.max_particles=8", f"control.listen={listen}"], {}, machine=False)
    settings = Camera(listen=camera, width=SHAPE[1], height=SHAPE[0], dtype="uint16", fps=50)
    experiment = msgspec.structs.replace(experiment, camera=settings)
    plan = Plan(
        run_id=os.urandom(8).hex(), pid=os.getpid(), started_utc_ns=0, started_mono_ns=0, run_folder=str(folder),
        experiment=experiment,
        geometry=Geometry(
            frame_slots=8, result_slots=8, depth=4, units_of_step=(1,), scratch_bytes=1 << 20, state_bytes=4096,
            blocks=2,
        ),
        processes=(
            ProcessPlan(name="receiver", target="bridge.receiver:main", kind="receiver", block=0),
            ProcessPlan(name="control", target="bridge.control:main", kind="control", block=1),
        ),
    )  # fmt: skip
    with Rings.create(plan):
        job = Job(plan, "control")
        job.status.open(os.getpid(), time.monotonic_ns(), COUNTERS)
        with job.rings, closing(Desk(job)) as desk, Server(job, desk) as server:
            over = threading.Event()

            def serve() -> None:
                while not over.is_set():
                    server.step()
                    desk.go_on()

            thread = threading.Thread(target=serve, name="control server")
            thread.start()
            try:
                yield job
            finally:
                over.set()
                thread.join()


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


def test_an_image_is_uploaded_with_its_number_or_refused_with_the_reason(tmp_path: Path) -> None:
    memory = Memory(shape=SHAPE)
    with FakeReceiver(memory) as receiver, served(tmp_path / "run", camera=receiver.address) as job:
        address = local_address(job.run_id)
        with Client(address, timeout_s=2) as client:
            for number in range(3):
                assert client.upload_image(np.full(SHAPE, number, np.uint16), source="by hand") == number
            for image, said in (
                (np.zeros((3, 3), np.uint16), "an image of 3 x 3 uint16; this run takes 64 x 48 uint16"),
                (np.zeros(SHAPE, np.uint8), "an image of 64 x 48 uint8"),
                (np.zeros(5, np.uint16), "an image has rows and columns, this array has 1 axes"),
                (np.zeros((*SHAPE, 3), np.uint16), "Send one channel"),
            ):
                with pytest.raises(SettingsError, match=said):
                    client.upload_image(image)
            with Client(address, timeout_s=0.4) as second, pytest.raises(PeerError, match='another source "by hand"'):
                second.upload_image(np.zeros(SHAPE, np.uint16))
        assert [frame.max() for _, _, frame in memory.frames] == [0, 1, 2]

        async def with_await() -> list[int]:
            async with AsyncClient(address, timeout_s=2) as client:
                images = (np.full(SHAPE, number, np.uint16) for number in (3, 4))
                return await asyncio.gather(*(client.upload_image(image) for image in images))

        assert sorted(asyncio.run(with_await())) == [3, 4], "the first client said bye: another may speak"
    with served(tmp_path / "deaf", camera=f"tcp://127.0.0.1:{free_port()}") as job, pytest.raises(PeerError):
        Client(local_address(job.run_id), timeout_s=0.3).upload_image(np.zeros(SHAPE, np.uint16))


@pytest.mark.parametrize(
    ("listen", "asked_at", "goes_to"),
    [
        ("tcp://127.0.0.1:50052", "ipc://@ringtrack-abc", "tcp://127.0.0.1:50052"),
        ("tcp://*:50052", "ipc://@ringtrack-abc", "tcp://127.0.0.1:50052"),
        ("tcp://0.0.0.0:50052", "tcp://tracking-pc:50053", "tcp://tracking-pc:50052"),
        ("tcp://192.168.1.5:50052", "tcp://tracking-pc:50053", "tcp://192.168.1.5:50052"),
        ("tcp://*:50052", "tcp://[fe80::1]:50053", "tcp://[fe80::1]:50052"),
        ("ipc://@camera", "ipc://@ringtrack-abc", "ipc://@camera"),
        ("ipc://@camera", "tcp://localhost:50053", "ipc://@camera"),
    ],
)
def test_frames_go_where_the_control_server_was_reached(listen: str, asked_at: str, goes_to: str) -> None:
    assert receiver_address(listen, asked_at) == goes_to


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:50052", "ipc://@camera"])
def test_a_receiver_for_its_own_machine_is_not_looked_for_on_ours(listen: str) -> None:
    with pytest.raises(PeerError, match=r'camera\.listen = "tcp://\*:50052"'):
        receiver_address(listen, "tcp://tracking-pc:50053")


def test_numbers_in_a_foreign_byte_order_are_sent_in_ours() -> None:
    camera = {"height": 48, "width": 64, "dtype": "uint16"}
    image = fitting(np.arange(48 * 64, dtype=">u2").reshape(SHAPE), camera)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    assert image[0, 1] == 1


def test_a_source_of_other_frames_is_refused_once_and_costs_the_run_nothing() -> None:
    memory = Memory(shape=SHAPE)
    with FakeReceiver(memory) as receiver:
        said = "the frames of 'wrong' are 10x9 uint16; this run takes 64x48 uint16"
        with (
            Sender(receiver.address, source="wrong", shape=(9, 10), dtype="uint16") as sender,
            pytest.raises(PeerError, match=said),
        ):
            sender.connect(5)
        outcomes: list[str] = []
        with Sender(receiver.address, source="wrong", live=False, on_done=lambda o: outcomes.append(o.why)) as sender:
            for _ in range(3):
                sender.send(np.zeros((9, 10), np.uint16))
            assert sender.flush(5)
            for _ in range(2):  # the region is set right in the camera program
                sender.send(np.zeros(SHAPE, np.uint16))
            statistics = sender.close(10)
        assert (statistics.taken, statistics.refused, statistics.closed) == (2, 3, True)
        assert sum("9 uint16" in why for why in outcomes) == 3
        assert sum("was refused" in text for text in receiver.logged) == 1
    assert memory.lost == []
    assert memory.numbers == [0, 1]


def test_frames_of_a_source_that_never_gave_a_fitting_one_are_no_losses() -> None:
    """A program of its own that says nothing of its frames in its hello, and whose first ones are of another size."""
    memory, stream = Memory(shape=SHAPE), wire_format.new_stream("by hand", "here")

    def frame(counter: int, shape: tuple[int, int]) -> tuple[bytes, bytes]:
        header = wire_format.FrameHeader(
            stream=stream, first=0, counter=counter, after=counter - 1 if counter else None, live=False, shape=shape,
            dtype="uint16",
        )  # fmt: skip
        return wire_format.encode(header), np.zeros(shape, np.uint16).tobytes()

    hello = wire_format.encode(wire_format.Hello(stream=stream, live=False))
    with FakeReceiver(memory) as receiver, zmq.Context() as context, context.socket(zmq.DEALER) as camera:
        camera.setsockopt(zmq.LINGER, 0)
        camera.connect(receiver.address)
        verdicts = []
        for parts in ((hello,), frame(0, (9, 9)), frame(1, (9, 9)), frame(2, SHAPE), frame(3, (9, 9)), frame(4, SHAPE)):
            camera.send_multipart(parts)
            assert camera.poll(5000)
            verdicts.append(wire_format.decode_answer(camera.recv()).verdict.value)
    assert verdicts == ["welcome", "refused", "refused", "taken", "refused", "taken"]
    assert memory.counters == [2, 4]
    assert [(first, last) for first, last, *_ in memory.lost] == [(1, 1)], "only what came after it was accepted"


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
