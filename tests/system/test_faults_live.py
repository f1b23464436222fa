"""A live camera does not wait for who died: what is lost lies around the death, and everybody's count agrees.

Counted three ways: by the camera's own sender (its report), by the ledger (the summary), by the rows of `/frames`.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.accounting import CAUSE_WORDS, Step
from tests.system.faults import (
    assert_clean,
    camera,
    chance,
    lost_numbers,
    lost_rows,
    reached,
    settings_of,
    strike,
)
from tests.system.running import Ended, Laboratory, Running, _command, wait_until

VICTIMS = ("receiver", "tracker", "linker", "recorder")
LOAD = 0.6
SECOND_NS = 1_000_000_000


@contextmanager
def sending(lab: Laboratory, source: str) -> Iterator[subprocess.Popen[str]]:
    """A sender of its own, as on a camera PC; its report is on its standard output."""
    process = subprocess.Popen(
        _command("send", source, "--to", lab.address, "--json"), cwd=lab.folder, env=lab.environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def report_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the camera's sender says when it has ended by itself."""
    said, _ = process.communicate(timeout=100)
    report: dict[str, Any] = json.loads(said)
    assert report["ended"], report
    statistics: dict[str, Any] = report["statistics"]
    return statistics


def exposed_ns(table: NDArray[np.void]) -> NDArray[np.int64]:
    """When each row's frame was exposed: of lost ones by their number, which is proportional to time."""
    there = table["state"] == b"tracked"
    return np.interp(table["frame"], table["frame"][there], table["t_camera_ns"][there]).astype(np.int64)


def assert_all_counts_agree(ended: Ended, statistics: dict[str, Any], frames: int) -> dict[int, tuple[str, str]]:
    """The camera's count, the run's and the file's; what was lost, by number."""
    table = ended.record.frames_array
    lost = lost_rows(table)
    assert lost == lost_numbers(ended.summary["lost"]) == lost_numbers(ended.record.lost.to_dict("records"))
    assert {step for step, _ in lost.values()} <= {step.name.lower() for step in Step}
    assert {cause for _, cause in lost.values()} <= set(CAUSE_WORDS.values())
    assert statistics["offered"] + statistics["skipped"] == frames
    assert list(table["frame"]) == list(range(frames))
    before_the_ring = [n for n, (step, _) in lost.items() if step in ("camera", "sender", "receiver")]
    gone = statistics["dropped"] + statistics["refused"] + statistics["skipped"] + sum(statistics["gave_up"].values())
    assert len(before_the_ring) == gone
    received, tracked, recorded, number = ended.counts
    assert received == statistics["taken"] == frames - gone
    assert number == len(lost)
    assert recorded == (table["state"] == b"tracked").sum() == frames - len(lost)
    assert tracked >= recorded
    assert ended.status == 0, ended.stderr
    assert_clean(ended)
    return lost


def kill_in_turn(lab: Laboratory, settings: dict[str, dict[str, Any]], source: str, frames: int) -> None:
    dice = chance("live", frames)
    kills: list[int] = []
    with lab.started(lab.settings(settings)) as run, sending(lab, source) as sender:
        for i, victim in enumerate(dice.sample(VICTIMS, len(VICTIMS))):
            part = frames // (len(VICTIMS) + 1)
            assert reached(run, part * i + dice.randrange(part // 2, part))
            kills.append(time.monotonic_ns())
            assert len(strike(run, [victim], dice)) == 1
        statistics = report_of(sender)
        ended = run.stop()
    lost = assert_all_counts_agree(ended, statistics, frames)
    when = exposed_ns(ended.record.frames_array)
    far = [n for n in lost if min(abs(int(when[n]) - kill) for kill in kills) > SECOND_NS]
    print(f"{len(lost)} of {frames} frames lost: {ended.summary['lost']}")
    assert not far, f"lost more than a second from every kill: {far}"


def test_what_a_live_camera_loses_lies_around_the_kills_and_all_counts_agree(lab: Laboratory) -> None:
    kill_in_turn(lab, settings_of(256, 60), camera(256, 60, 400), 400)


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_the_same_at_sixty_percent_of_what_this_machine_can_do(lab: Laboratory) -> None:
    most = lab.run(lab.settings(settings_of(512, 100)), "--source", camera(512, 100, 600, live=False))
    fps = round(LOAD * most.summary["fps"], 1)
    print(f"{most.summary['fps']} frames/s at most, {fps} now")
    for _ in range(3):
        kill_in_turn(lab, settings_of(512, fps), camera(512, fps, round(20 * fps)), round(20 * fps))


@pytest.mark.faults
def test_a_ring_without_trackers_drops_frames_and_lists_every_one(lab: Laboratory) -> None:
    fps, frames = 60, 300
    settings = settings_of(256, fps, ring={"seconds": 0.1})  # full after a quarter of a second
    with lab.started(lab.settings(settings)) as run, sending(lab, camera(256, fps, frames)) as sender:
        assert reached(run, 60)
        began = time.monotonic_ns()
        with without(run, "tracker"):
            wait_until(lambda: run.rings.block("receiver").counters()["dropped"] > 5, "the ring to be full")
        recovered = time.monotonic_ns()
        statistics = report_of(sender)
        ended = run.stop()
    lost = assert_all_counts_agree(ended, statistics, frames)
    when = exposed_ns(ended.record.frames_array)
    dropped = [n for n in lost if began <= when[n] <= recovered + SECOND_NS]
    assert len(dropped) > 5
    assert {lost[n] for n in dropped} == {("receiver", "ring full")}
    assert statistics["dropped"] == len([n for n, (_, cause) in lost.items() if cause == "ring full"])


@contextmanager
def without(run: Running, kind: str) -> Iterator[None]:
    """Those who work and the spares stand still, as on a machine that has other things to do."""
    for name in run.names(kind):
        run.kill(name, signal.SIGSTOP)
    yield
    for name in run.names(kind):
        run.kill(name, signal.SIGCONT)


@pytest.mark.faults
def test_a_camera_whose_sender_is_killed_goes_on_with_the_next_number(lab: Laboratory) -> None:
    frames = 300
    settings = lab.settings(settings_of(256, 60))
    with lab.started(settings, "--source", camera(256, 60, frames)) as run:
        for place in (50, 150):
            assert reached(run, place)
            assert strike(run, ["source"]) == ["sender"]
        ended = run.wait()
    table = ended.record.frames_array
    assert ended.counts == (frames, frames, frames, 0), ended.summary["lost"]
    assert list(table["counter"]) == list(table["frame"]) == list(range(frames))
    assert len(np.unique(table["sequence"])) == 1
    assert (ended.record.events["kind"] == "sender restarted").sum() == 2
