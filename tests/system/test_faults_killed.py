"""`kill -9` of the processes of a run at random moments: a finite source comes out as if nothing had happened.

RINGTRACK_MOMENTS says how often each process is killed in `make faults` (50).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import recordings
from tests.system.faults import FRAMES, SMALL, VICTIMS, assert_undisturbed, chance, killed_at, small, undisturbed
from tests.system.running import BULK_WATER, Laboratory

MOMENTS = int(os.environ.get("RINGTRACK_MOMENTS", "50"))
KILLS_A_RUN = 5
"""A process that dies more than eight times in half a minute stays dead, by design."""


def test_each_process_killed_in_turn_changes_nothing(lab: Laboratory) -> None:
    dice = chance("in turn")
    order = dice.sample(VICTIMS, len(VICTIMS))
    settings, source, expected = lab.settings(SMALL), lab.stack(small()), undisturbed(lab)
    while order:  # where a run ends before each of them had its turn, the next one goes on with those who are left
        # In the first half: a sender is ahead of what is published, and one that has sent all cannot be killed.
        kills = [(10 * i + dice.randrange(10), [victim]) for i, victim in enumerate(order)]
        ended, killed = killed_at(lab, settings, source, kills, dice)
        assert killed
        order = order[len(killed) :]
        assert_undisturbed(ended, expected, FRAMES, killed)
        assert {f"{name} started again" for name in killed[:-1]} <= {line["message"] for line in ended.log}
        assert (ended.record.events["kind"] == "died").sum() == len(killed)


@pytest.mark.faults
def test_all_processes_killed_together_change_nothing(lab: Laboratory) -> None:
    dice = chance("together")
    kills = [(dice.randrange(FRAMES // 4), VICTIMS), (FRAMES // 4 + dice.randrange(FRAMES // 4), VICTIMS)]
    ended, killed = killed_at(lab, lab.settings(SMALL), lab.stack(small()), kills, dice)
    assert len(killed) == 2 * len(VICTIMS)
    assert_undisturbed(ended, undisturbed(lab), FRAMES, killed)


@pytest.fixture(scope="module")
def water(shared_lab: Laboratory) -> tuple[Path, int, bytes]:
    """The recording of spheres in water (or frames made here, where it is missing), and its undisturbed `/tracks`."""
    source, settings = _water(shared_lab)
    frames = len(recordings.frames(source)) if source == recordings.BULK_WATER else 2 * FRAMES
    ended = shared_lab.run(settings, "--source", source)
    assert_undisturbed(ended, ended.tracks_bytes, frames)
    return source, frames, ended.tracks_bytes


def _water(lab: Laboratory) -> tuple[Path, Path]:
    """Source and settings."""
    if recordings.BULK_WATER.exists():
        return recordings.BULK_WATER, lab.settings(BULK_WATER)
    return lab.stack(small(2 * FRAMES)), lab.settings(SMALL)


@pytest.mark.faults
@pytest.mark.parametrize("victims", [*([name] for name in VICTIMS), VICTIMS], ids=[*VICTIMS, "together"])
def test_random_moments_change_nothing(lab: Laboratory, water: tuple[Path, int, bytes], victims: list[str]) -> None:
    source, frames, expected = water
    dice = chance(*victims)
    settings = _water(lab)[1]
    moments = runs = 0
    while moments < MOMENTS:
        runs += 1
        assert runs < 2 * MOMENTS, "the runs end before anybody can be killed"
        places = sorted(dice.randrange(frames) for _ in range(min(KILLS_A_RUN, MOMENTS - moments)))
        ended, killed = killed_at(lab, settings, source, [(place, victims) for place in places], dice)
        assert_undisturbed(ended, expected, frames, killed)
        moments += len(killed) // len(victims)
