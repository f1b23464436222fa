"""Recording is switched on and off from the command line and by a rule while a run tracks on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bridge.client import Client
from bridge.control import local_address
from engine.errors import SettingsError
from tests.system.running import Ended, Laboratory, wait_until

SECTIONS: dict[str, dict[str, Any]] = {
    "camera": {"width": 160, "height": 128, "dtype": "uint16", "fps": 100},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
    "record": {
        "on": False,
        "images": True,
        "csv": True,
        "crop_size": 16,
        "flush_s": 0.1,
        "trigger": "marker laser on",
        "trigger_s": 0.3,
    },
}
SOURCE = "simulated?width=160&height=128&beads=12&fps=100&seed=3&frames=100000"


@pytest.fixture(scope="module")
def story(shared_lab: Laboratory) -> tuple[Ended, dict[str, Any]]:
    lab, facts = shared_lab, dict[str, Any]()
    with lab.started(lab.settings(SECTIONS), "--source", SOURCE, "--fps", "100") as run:
        wait_until(lambda: run.published > 100, "frames")

        def ask(*words: str) -> dict[str, Any]:
            done = lab.command(*words, "--json")
            assert done.status == 0, done.stderr
            return dict(json.loads(done.stdout))

        def seen(frame: int) -> None:
            wait_until(lambda: run.published > frame, f"frame {frame}")

        with Client(local_address(run.plan.run_id)) as client:
            facts["first"] = ask("record", "start", "trap A", "--before", "300ms")
            seen(facts["first"]["from_frame"] + 30)
            facts["metrics"] = client.metrics()["recording"]
            facts["again"] = lab.command("record", "start").stderr
            wait_until(lambda: "recording" in client.metrics()["step_ms"], "a frame to be written")
            facts["steps"] = client.metrics()["step_ms"]
            facts["csv off"] = client.configure_storage(csv=False)
            seen(facts["csv off"]["from_frame"] + 10)
            facts["outputs"] = client.metrics()["recording"]["outputs"]
            facts["csv on"] = client.configure_storage({"csv": True})
            for wrong, said in (("tiff", "was started without it"), ("xlsx", "'xlsx' is no output")):
                with pytest.raises(SettingsError, match=said):
                    client.configure_storage({"csv": False, wrong: True})
            facts["chosen"] = ask("record", "crops", "0-3")
            facts["undone"] = client.configure_tracking(minmass=300), client.undo()
            run.kill("hdf5")
            run.kill("images")
            facts["paused"] = client.record("pause")
            seen(facts["paused"]["from_frame"] + 20)
            facts["resumed"] = client.record("resume")
            seen(facts["resumed"]["from_frame"] + 10)
            facts["stopped"] = ask("record", "stop")
            facts["twice"] = lab.command("record", "stop").stderr
            with pytest.raises(SettingsError, match="only the last 2 s"):
                client.record("start", before_s=3)
            seen(facts["stopped"]["from_frame"] + 20)
            assert ask("mark", "nothing", "new")["text"] == "nothing new"
            facts["marked"] = client.mark("Laser on now")
            wait_until(lambda: client.metrics()["recording"]["take"] == 2, "the rule to start a take")
            facts["pulled"] = client.metrics()["recording"]
            wait_until(lambda: client.metrics()["recording"]["state"] == "off", "its end")
        ended = run.stop()
    assert ended.status == 0, ended.stderr
    return ended, facts


def test_the_particles_and_images_of_takes_are_in_the_files_and_no_others(story: tuple[Ended, dict[str, Any]]) -> None:
    ended, facts = story
    record = ended.record
    table = record.frames_table
    assert table["frame"].tolist() == list(range(len(table)))
    numbers = table.loc[table["state"] == "tracked", "frame"].to_numpy()
    assert set(table["state"]) == {"tracked", "paused"}
    first, paused, resumed, stopped = (facts[k]["from_frame"] for k in ("first", "paused", "resumed", "stopped"))
    received_s = table["t_received_ns"].to_numpy() / 1e9
    reached = np.flatnonzero(received_s >= received_s[first] - 0.3)[0]
    by_hand = numbers[numbers < stopped]
    assert by_hand.tolist() == [*range(reached, paused), *range(resumed, stopped)]
    takes = record.takes.to_dict("records")
    assert [(take["take"], take["name"]) for take in takes] == [(1, "trap A"), (2, "")]
    assert (takes[0]["first_frame"], takes[0]["frames"]) == (reached, len(by_hand))
    assert set(record.tracks["frame"]) <= set(numbers)
    pictures = record.frames
    assert len(pictures) == len(numbers)
    assert pictures[int(numbers[0])].shape == (128, 160)
    with pytest.raises(IndexError, match="was not kept"):
        pictures[0]


def test_one_format_is_switched_off_and_on_while_the_others_go_on(story: tuple[Ended, dict[str, Any]]) -> None:
    ended, facts = story
    assert facts["outputs"] == {"hdf5": True, "csv": False, "images": True, "crops": True}
    assert facts["csv on"]["outputs"]["csv"]
    first, last = facts["csv off"]["from_frame"], facts["csv on"]["from_frame"]
    in_table = set(ended.record.tracks["frame"])
    in_csv = set(pd.read_csv(next(ended.folder.glob("tracks_*.csv")))["frame"])
    assert in_csv == in_table - set(range(first, last))
    assert set(range(first, last)) <= in_table


def test_crops_are_of_takes_and_of_the_particles_that_were_chosen_meanwhile(
    story: tuple[Ended, dict[str, Any]],
) -> None:
    ended, facts = story
    tracks, crops = ended.record.tracks, ended.record.crops
    wanted = tracks[(tracks["frame"] < facts["chosen"]["from_frame"]) | (tracks["particle"] <= 3)]
    assert 0 < len(wanted) < len(tracks)
    for name in ("frame", "particle"):
        assert crops.table[name].tolist() == wanted[name].tolist()
    pictures = ended.record.frames
    for index in range(0, len(crops), 97):
        row = crops.rows[index]
        y, x = int(row["y0"]), int(row["x0"])
        np.testing.assert_array_equal(crops[index], pictures[int(row["frame"])][y : y + 16, x : x + 16])


def test_every_frame_is_accounted_for(story: tuple[Ended, dict[str, Any]]) -> None:
    ended, _ = story
    summary = ended.summary
    assert summary["frames_lost"] == 0
    assert summary["frames_received"] == summary["frames_recorded"] + summary["frames_paused"]
    recorder = next(step for step in summary["accounting"] if step["step"] == "recorder")
    assert recorder["arrived"] == recorder["out"] == summary["frames_recorded"]


def test_a_rule_starts_a_take_that_ends_by_itself_and_reaches_back(story: tuple[Ended, dict[str, Any]]) -> None:
    ended, facts = story
    assert facts["pulled"]["why"] in ("trigger: marker laser on", "its time was over")
    take = ended.record.takes.iloc[1]
    assert take["first_frame"] < facts["marked"] < take["last_frame"]


def test_the_state_is_told_and_what_makes_no_sense_is_refused(story: tuple[Ended, dict[str, Any]]) -> None:
    _, facts = story
    assert (facts["metrics"]["state"], facts["metrics"]["name"], facts["metrics"]["take"]) == ("on", "trap A", 1)
    assert facts["metrics"]["seconds"] > 0
    assert 0 < facts["steps"]["recording"]["p50"] < 10_000
    assert facts["metrics"]["disk_free_bytes"] > 0
    assert "take 1 (trap A) is being recorded already" in facts["again"]
    assert "nothing is being recorded" in facts["twice"]
    assert facts["undone"][1].version > facts["undone"][0].version
    assert facts["paused"]["state"] == "paused"
