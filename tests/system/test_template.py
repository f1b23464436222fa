"""Processes are forked from a warm template: it may die, be stopped or meet a broken cache, and no run minds."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil
import pytest

from engine.supervisor import kernels
from tests.system.running import Laboratory, Running, diffusing, wait_until

SHAPE_HW = (96, 128)
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 50},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
}


def template_of(run: Running) -> psutil.Process | None:
    children = psutil.Process(run.process.pid).children()
    return next((child for child in children if child.name() == "template"), None)


def test_processes_carry_their_names_and_are_children_of_the_supervisor(lab: Laboratory) -> None:
    with lab.started(lab.settings(SETTINGS)) as run:
        for name in ("receiver", "tracker-0", "linker-1", "hdf5"):
            process = psutil.Process(run.pid(name))
            assert process.name() == name
            assert process.ppid() == run.process.pid
        assert run.stop().status == 0


def test_a_template_that_dies_is_replaced_and_the_run_goes_on(lab: Laboratory) -> None:
    """Killed, and then stopped, so that it is there but does not answer."""
    with lab.started(lab.settings(SETTINGS)) as run:
        first = wait_until(lambda: template_of(run), "the template")
        first.kill()
        before = run.pid("linker-0")
        run.kill("linker-0")
        wait_until(lambda: run.pid("linker-0") not in (0, before) and run.ready(), "another linker")
        second = wait_until(lambda: template_of(run), "another template")
        assert second.pid != first.pid
        second.send_signal(signal.SIGSTOP)
        before = run.pid("tracker-0")
        run.kill("tracker-0")
        wait_until(lambda: run.pid("tracker-0") not in (0, before) and run.ready(), "another tracker")
        ended = run.stop()
    assert ended.status == 0, ended.stderr
    assert ended.summary["restarts"] == {"linker-0": 1, "tracker-0": 1}


@pytest.mark.faults
def test_kernels_that_cannot_be_used_are_compiled_anew(lab: Laboratory) -> None:
    """A cache that was cut short, as by a full disk, when the kernels were compiled."""
    lab.environment["XDG_CACHE_HOME"] = str(lab.folder / "cache")
    saved = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = lab.environment["XDG_CACHE_HOME"]
    try:
        folder = kernels.cache_folder()
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if saved is not None:
            os.environ["XDG_CACHE_HOME"] = saved
    source = lab.stack(diffusing(5, 3, SHAPE_HW, seed=3))
    settings = lab.settings(SETTINGS)
    assert lab.run(settings, "--source", source).counts == (3, 3, 3, 0)
    compiled = list(folder.rglob("*.nbc"))
    assert compiled
    for path in compiled:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    ended = lab.run(settings, "--source", source)
    assert ended.counts == (3, 3, 3, 0), ended.stderr
