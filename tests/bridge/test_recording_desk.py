"""Takes that are paused, and what people are told of a recording. The clock is the test's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from bridge.looking import Looker
from bridge.takes import NS, RecordingDesk, recording_facts
from bridge.tuning import Tuning
from engine.errors import SettingsError
from engine.experiment import Experiment
from engine.live import LiveSettings, Recording


class Live(LiveSettings):
    """The settings of a run without one: every recording that was published."""

    def __init__(self) -> None:
        self.all = [Recording(on=False, take=0)]

    @property
    def newest(self) -> int:
        return len(self.all)

    def recording(self, number: int) -> Recording:
        return self.all[number - 1]


class Tuned(Tuning):
    """Publishes recordings alone."""

    def __init__(self, live: Live) -> None:
        self.live = self._all = live

    def record(self, recording: Recording) -> int:
        self._all.all.append(recording)
        return self._all.newest


class Unlit(Looker):
    """No result has come yet."""

    def __init__(self) -> None:
        """It has no rings."""

    @property
    def newest(self) -> int:
        return -1


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def now_ns() -> list[int]:
    return [1000 * NS]


def plan_of(folder: Path) -> Any:
    processes = [SimpleNamespace(name=name, kind="recorder") for name in ("tiff", "crops")]
    return SimpleNamespace(experiment=Experiment(), run_folder=str(folder), started_mono_ns=0, processes=processes)


@pytest.fixture
def desk(tmp_path: Path, live: Live, now_ns: list[int]) -> RecordingDesk:
    plan = plan_of(tmp_path)
    job: Any = SimpleNamespace(experiment=plan.experiment, run_folder=tmp_path, plan=plan, log=lambda *a, **k: None)
    return RecordingDesk(job, Tuned(live), Unlit(), lambda kind, text: None, lambda: now_ns[0], lambda folder: 1 << 40)


def test_a_take_of_a_time_goes_on_for_what_was_left_of_it(desk: RecordingDesk, live: Live, now_ns: list[int]) -> None:
    desk.start("trap", for_s=30)
    now_ns[0] += 10 * NS
    desk.stop(paused=True)
    now_ns[0] += 3600 * NS
    desk._look_due = 0.0
    desk.look()
    assert (desk.now.state, desk.now.left_ns) == ("paused", 20 * NS)
    desk.resume()
    assert (desk.now.until_ns, desk.now.left_ns) == (now_ns[0] + 20 * NS, 0)
    now_ns[0] += 19 * NS
    desk._look_due = 0.0
    desk.look()
    assert desk.now.on
    now_ns[0] += 1 * NS
    desk._look_due = 0.0
    desk.look()
    assert (desk.now.state, desk.now.why) == ("off", "its time was over")


def test_a_take_without_an_end_has_none_after_a_pause(desk: RecordingDesk) -> None:
    desk.start("trap")
    desk.stop(paused=True)
    desk.resume()
    assert (desk.now.until_ns, desk.now.left_ns) == (0, 0)


def test_a_take_that_was_paused_and_stopped_is_over(desk: RecordingDesk) -> None:
    desk.start("trap", for_s=30)
    desk.stop(paused=True)
    desk.stop()
    assert (desk.now.state, desk.now.left_ns) == ("off", 0)


def test_other_particles_are_chosen_while_a_take_goes_on(desk: RecordingDesk) -> None:
    desk.start("trap", for_s=30)
    until_ns = desk.now.until_ns
    desk.choose("3, 7-9")
    assert (desk.now.crops, desk.now.on, desk.now.until_ns) == ("3, 7-9", True, until_ns)
    desk.stop()
    desk.start("next")
    assert desk.now.crops == "3, 7-9"
    with pytest.raises(SettingsError, match="'x' is not understood"):
        desk.choose("x")


def facts(live: Live, folder: Path, **metrics: Any) -> dict[str, Any]:
    told = {"recorded": 0, "bytes_recorded": 0, "receive_rate": 0.0, "seconds": 3600.0} | metrics
    return recording_facts(live, plan_of(folder), told)


def test_minutes_that_are_left_do_not_count_pauses(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.takes.shutil.disk_usage", lambda folder: SimpleNamespace(free=61_000_000_000))
    live.all.append(Recording(on=True, take=1))
    # Ten seconds of 100 frames of a megabyte, in an hour of pauses: 60 GB take ten minutes.
    told = facts(live, tmp_path, recorded=1000, bytes_recorded=10**9, receive_rate=100.0)
    assert told["minutes_left"] == 10.0
    assert told["outputs"] == {"tiff": True, "crops": True}
    silent = facts(live, tmp_path, recorded=1000, bytes_recorded=10**9)  # the camera says nothing: as if it did
    assert silent["minutes_left"] == 10.0
    assert facts(live, tmp_path)["minutes_left"] is None


def test_a_paused_take_says_how_much_of_its_time_is_left(live: Live, tmp_path: Path) -> None:
    live.all.append(msgspec.structs.replace(Recording(), on=False, paused=True, left_ns=20 * NS))
    assert facts(live, tmp_path)["ends_in_s"] == 20.0
    live.all.append(Recording(on=False))
    assert facts(live, tmp_path)["ends_in_s"] is None
