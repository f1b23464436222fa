"""A run whose settings change while it goes on, through the control server, as clients and the command line do it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tifffile
import zmq

from bridge import AsyncClient, Client
from bridge import control_wire as wire
from bridge.control import local_address
from engine.errors import PeerError, SettingsError
from tests.system.running import Ended, Laboratory, wait_until


@dataclass
class Story:
    """What happened in the one run that all tests here look at."""

    ended: Ended
    lab: Laboratory
    facts: dict[str, Any] = field(default_factory=dict)


SECTIONS: dict[str, dict[str, Any]] = {
    "camera": {"width": 256, "height": 256, "fps": 50.0},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 100.0, "max_ecc": 0.0},
}
SOURCE = "simulated?beads=20&fps=50&live=false&frames=100000"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    lab = Laboratory(tmp_path_factory.mktemp("live"))
    facts: dict[str, Any] = {}
    with lab.started(lab.settings(SECTIONS), "--source", SOURCE, "--fps", "50") as run:
        address = local_address(run.plan.run_id)
        wait_until(lambda: run.published > 20, "frames")
        silent = zmq.Context()
        deaf = silent.socket(zmq.DEALER)  # asks, and never reads
        deaf.setsockopt(zmq.LINGER, 0)
        deaf.setsockopt(zmq.RCVHWM, 1)
        deaf.connect(address)
        for number in range(200):
            deaf.send(msgspec.msgpack.encode({"ask": "latest", "v": 1, "id": number}))
        for garbage in (b"", b"\xff\x00", b"x" * 5000, msgspec.msgpack.encode({"ask": "latest", "v": 9})):
            deaf.send(garbage)
        try:
            with Client(address) as client:
                _converse(client, run, lab, facts)
            facts["impatient"] = _impatient(silent, address)
            wait_until(lambda: run.received - run.published < 50, "the linker to catch up")
            facts["async"] = asyncio.run(_with_await(address))
        finally:
            deaf.close()
            silent.term()
        with Client(address) as last:
            last.stop()
        ended = run.wait()
    return Story(ended, lab, facts)


def _converse(client: Client, run: Any, lab: Laboratory, facts: dict[str, Any]) -> None:
    facts["hello"] = client.hello()
    facts["first"] = client.settings()
    facts["before"] = len(client.get_latest_image().rows)
    facts["preview"] = len(client.preview(minmass=1e9))
    facts["changed"] = client.configure_tracking(minmass=1e9)
    since = client.results(from_frame=facts["changed"].from_frame)
    facts["during"] = [len(frame.rows) for frame, _ in zip(since, range(3))]
    facts["undone"] = client.undo()
    facts["after"] = [frame for frame, _ in zip(client.results(from_frame=facts["undone"].from_frame), range(3))]
    facts["faults"] = []
    for wrong in ({"tracking.diameter": 20}, {"tracking.nonsense": 1}, {"tracking.minmass": "many"},
                  {"camera.fps": 5}, {"tracking.workers": 7}, {"linking.memory": 9999}, {"tracking.separation": 1}):  # fmt: skip  # noqa: E501
        with pytest.raises(SettingsError) as caught:
            client.configure(wrong)
        facts["faults"].append(str(caught.value))
    with pytest.raises(SettingsError) as refused:
        client.upload_image(np.zeros((3, 3), np.uint16))
    facts["size"] = str(refused.value)
    with Client(client.address, timeout_s=0.3) as second, pytest.raises(PeerError) as occupied:
        second.upload_image(np.zeros((256, 256), np.uint16), source="by hand")
    facts["occupied"] = str(occupied.value)
    run.kill("linker-0")  # whoever takes over knows the versions
    facts["linking"] = client.configure_linking(search_range=7.5, memory=5)
    before = run.pid("control")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: run.pid("control") not in (0, before), "another control server")
    wait_until(run.ready, "everybody")
    facts["survived"] = client.settings()
    facts["mark"] = client.mark("laser on")
    facts["image"] = client.get_latest_image(most_px=100)
    facts["metrics"] = client.metrics()
    facts["accounting"] = client.accounting()
    facts["log"] = client.log(5)
    facts["trace"] = client.trace(0.3)
    facts["next"] = client.save_stack("next", 5)
    with pytest.raises(PeerError) as busy:
        client.trace(1)
    facts["busy"] = str(busy.value)
    wait_until(lambda: Path(facts["next"]).exists(), "the next frames")
    facts["ring"] = client.save_stack("ring")
    for name in ("trace", "ring"):
        wait_until(lambda: Path(facts[name]).exists(), name)  # noqa: B023
    told = lab.command("set", "tracking.separation", "13", "--json")
    facts["told"] = json.loads(told.stdout)
    facts["back"] = lab.command("set", "--undo")
    facts["wrong"] = lab.command("set", "tracking.diameter", "20")
    facts["shown"] = lab.command("set")


def _impatient(context: zmq.Context[Any], address: str) -> wire.Answer:
    """The answer to a mark, asked for by who waits for eight answers already."""
    with context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(address)
        for number in range(8):
            waiting = {"ask": "results", "v": 1, "id": number, "from_frame": 10**9, "wait_s": 5.0}
            socket.send(msgspec.msgpack.encode(waiting))
        socket.send(msgspec.msgpack.encode({"ask": "mark", "v": 1, "id": 99, "text": "one too many"}))
        assert socket.poll(30_000)
        return wire.decode_answer(socket.recv_multipart())[0]


async def _with_await(address: str) -> Any:
    async with AsyncClient(address) as client:
        metrics, image = await asyncio.gather(client.metrics(), client.get_latest_image())
        frames = [frame async for frame, _ in _counted(client.results(), 2)]
        return metrics, image, frames


async def _counted(results: Any, most: int) -> Any:
    number = 0
    async for frame in results:
        number += 1
        yield frame, number
        if number == most:
            return


def test_a_change_counts_from_the_stated_frame_on_and_undo_brings_the_particles_back(story: Story) -> None:
    facts = story.facts
    assert facts["before"] > 5
    assert facts["preview"] == 0
    assert facts["changed"].version == 2
    assert facts["during"] == [0, 0, 0]
    assert facts["undone"].version == 3
    assert facts["undone"].tracking == facts["first"].tracking
    assert all(len(frame.rows) > 5 for frame in facts["after"])


def test_every_frame_says_with_which_version_it_was_tracked(story: Story) -> None:
    frames = story.ended.record.frames_table
    versions = frames["settings"].to_numpy()
    assert np.all(np.diff(versions) >= 0)
    counts = frames["rows"].to_numpy()
    assert counts[versions == 2].max() == 0
    assert counts[versions == 3].min() > 0
    numbers = frames["frame"].to_numpy()
    assert numbers[versions == 2][0] == story.facts["changed"].from_frame
    assert numbers[versions == 3][0] == story.facts["undone"].from_frame


def test_what_a_version_said_is_in_the_events(story: Story) -> None:
    events = story.ended.record.events
    said = [json.loads(text) for text in events.loc[events["kind"] == "settings", "json"]]
    by_version = {each["version"]: each for each in said}
    assert by_version[2]["tracking"]["minmass"] == 1e9
    assert by_version[4]["linking"]["search_range"] == 7.5
    assert by_version[4]["linking"]["memory"] == 5
    assert "laser on" in " ".join(events["json"])


def test_nothing_was_lost_whoever_asked_or_never_read(story: Story) -> None:
    assert story.ended.status == 0, story.ended.stderr
    assert story.ended.summary["frames_lost"] == 0


def test_what_cannot_be_is_refused_with_the_reason(story: Story) -> None:
    odd, name, kind, fixed, workers, memory, separation = story.facts["faults"]
    assert "20 is even" in odd
    assert "no such key" in name
    assert "a number" in kind
    assert "cannot be changed while a run goes on" in fixed
    assert "cannot be changed while a run goes on" in workers
    assert "10" in memory
    assert "too small for a run" in separation
    assert "3 x 3 uint16" in story.facts["size"]
    assert 'another source "simulated' in story.facts["occupied"]


def test_who_waits_for_too_many_answers_is_refused_before_anything_is_done(story: Story) -> None:
    assert story.facts["impatient"].id == 99
    assert "too many answers at once" in story.facts["impatient"].error
    assert "one too many" not in story.ended.record.events["json"].str.cat()


def test_a_control_server_that_was_killed_goes_on_with_the_versions(story: Story) -> None:
    assert story.facts["survived"].version == story.facts["linking"].version == 4
    assert story.facts["survived"].linking.memory == 5


def test_a_reduced_image_keeps_the_particles_where_they_are(story: Story) -> None:
    image = story.facts["image"]
    assert image.step == 3
    assert image.pixels.shape == (85, 85)
    strongest = image.rows[np.argmax(image.rows["signal"])]
    y, x = int(strongest["y"] / 3), int(strongest["x"] / 3)
    patch = image.pixels[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    assert patch.max() > np.median(image.pixels) + 10
    assert list(image.particles.columns[:4]) == ["frame", "particle", "x", "y"]


def test_figures_add_up(story: Story) -> None:
    metrics = story.facts["metrics"]
    assert metrics["frame_count"] > 0
    assert metrics["lost"] == 0
    assert metrics["step_ms"]["tracking"]["p99"] > 0
    assert not any(name.startswith("note") for name in metrics["processes"]["receiver"]["counters"])
    for step in story.facts["accounting"]["steps"]:
        assert step["arrived"] == step["out"] + step["lost"] + step["in_flight"]


def test_a_trace_has_the_steps_of_every_frame_and_a_row_for_every_process(story: Story) -> None:
    trace = json.loads(Path(story.facts["trace"]).read_text())
    steps = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    frames = {event["args"]["frame"] for event in steps}
    assert len(frames) > 5
    for frame in sorted(frames)[1:-1]:
        of_frame = [event["cat"] for event in steps if event["args"]["frame"] == frame]
        assert set(of_frame) >= {"network", "trackers", "linker", "publish"}
    named = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"}
    for process in ("receiver", "tracker-0", "linker-0", "hdf5", "control"):
        assert any(name.startswith(process) for name in named)
    assert any(event["ph"] == "C" and event["name"] == "busy" for event in trace["traceEvents"])
    assert "already" in story.facts["busy"]


def test_stacks_hold_whole_frames_with_their_numbers(story: Story) -> None:
    with tifffile.TiffFile(story.facts["next"]) as stack:
        assert stack.is_bigtiff
        numbers = [json.loads(page.description)["frame"] for page in stack.pages]
        assert len(numbers) == 5
        assert numbers == list(range(numbers[0], numbers[0] + 5))
        assert stack.pages[0].asarray().shape == (256, 256)
    with tifffile.TiffFile(story.facts["ring"]) as stack:
        assert len(stack.pages) > 50


def test_the_report_of_the_run_is_one_file_with_everything_in_it(story: Story) -> None:
    told = story.lab.command("report", story.ended.folder)
    assert told.status == 0, told.stderr
    page = Path(told.stdout.strip()).read_text()
    assert page.count("data:image/png;base64,") == 4
    before_settings = page.partition("<h2>Settings</h2>")[0]
    assert not any(scheme in before_settings for scheme in ("http:", "https:"))  # pictures hold letters alone, any four
    for said in ("No frame was lost", "laser on", "search_range = 10", "frames tracked", str(story.ended.folder)):
        assert said in page


def test_the_command_line_sets_and_undoes(story: Story) -> None:
    facts = story.facts
    assert facts["told"]["tracking.separation"] == 13
    assert facts["told"]["version"] == 5
    assert "version 6, from frame" in facts["back"].stdout
    assert facts["wrong"].status == 2
    assert "20 is even" in facts["wrong"].stderr
    assert "tracking.minmass" in facts["shown"].stdout


def test_with_await_it_is_the_same(story: Story) -> None:
    metrics, image, frames = story.facts["async"]
    assert metrics["frame_count"] <= image.frame + 100
    assert frames[1].frame == frames[0].frame + 1


def test_a_run_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    nobody = Client(f"ipc://@ringtrack-nobody-{tmp_path.name}", timeout_s=0.2)
    with nobody as client, pytest.raises(PeerError, match="has not answered 'metrics'"):
        client.metrics()
