"""What a run holds, and whether it is whole: the report behind `ringtrack inspect RUN`.

`inspect(path)` reads a run (finished, live or cut short; one file or parts) and checks that its tables agree with each
other; `recorders.report.Report` shows it. A *fault* is something that this program should never leave behind; a
*note* is something that the reader should know.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from engine.accounting import LostRange, merged
from engine.rows import FILTERS
from recorders import h5clear
from recorders.crop_parts import check_crops
from recorders.image_check import ImageCheck, check_images
from recorders.join import accounting, lost_ranges
from recorders.metadata import read_group
from recorders.missed import EVENT, pictures_of
from recorders.parts import BLOCK_ROWS, Part, RunError, frame_blocks, opened, owned_blocks, part_paths, read_parts
from recorders.report import Report, SettingsStretch, StepAccount
from recorders.run import Run
from recorders.runfolder import RunFolder, of_same_run
from recorders.tables import FRAMES, LOST, NO_CODE, PAUSED, Table
from recorders.tiff_pictures import check_tiffs
from recorders.told import Told, account_with, lost_with

READ = ("frame", "sequence", *(f"removed_{name}" for name in FILTERS), "overflow", "t_camera_ns", "t_received_ns")
READ += ("t_published_ns", "settings", "state_code", "step_code")
"""Columns of `/frames` that are looked at."""


def inspect(path: str | Path, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read and check a run: its folder, or its HDF5 file.

    Reads every row of `/tracks`, in blocks, and decodes every recorded camera frame (`progress(done, all)` is told).
    Raises RunError if it is no run.
    """
    run = Run.open(path)
    paths = list(part_paths(run.path).values())
    live = any(h5clear.is_held(part) for part in paths)
    parts = read_parts(run.path)
    frames: Table = np.concatenate([np.zeros(0, FRAMES)[list(READ)], *frame_blocks(parts, READ)])
    pixels, pixel_faults = _check_pixels(run, parts, progress)
    with opened(paths[0]) as file:
        name, run_id = str(file.attrs["run"]), str(file.attrs["run_id"])
    with opened(paths[-1]) as file:
        complete = bool(read_group(file, "processing_metrics")["complete"])
        repaired = str(file.attrs.get("repaired_utc", ""))
    arrived = frames[frames["state_code"] != LOST]
    paused = int((arrived["state_code"] == PAUSED).sum())
    rows, particles, faults = _check_tracks(parts)
    seconds, fps = _rate(arrived)
    losses = lost_ranges(parts)
    told = None if live else run.told
    all_losses = losses if told is None else lost_with(told, losses)
    steps = accounting(frames) if told is None else account_with(told)
    lost = int((frames["step_code"] != NO_CODE).sum()) if told is None else told.frames_lost
    return Report(
        path=str(run.path),
        run=name,
        run_id=run_id,
        name=str(run.metadata["acquisition_params"]["name"]),
        state="being recorded" if live else _state(complete, repaired),
        parts=len(paths),
        bytes=sum(part.stat().st_size for part in paths),
        frames_recorded=len(arrived) - paused,
        frames_paused=paused,
        frames_lost=lost,
        first_frame=int(frames["frame"][0]) if len(frames) else -1,
        last_frame=int(frames["frame"][-1]) if len(frames) else -1,
        sequences=len(np.unique(frames["sequence"])),
        seconds=seconds,
        fps=fps,
        **pixels,
        pictures=pictures_of(
            {name: pixels[field] for name, field in (("images", "images"), ("tiff", "tiffs")) if pixels[field]},
            run.path.parent,
            run.settings.record.image_every,
            run.events["json"][run.events["kind"] == EVENT],
        ),
        rows=rows,
        particles=particles,
        features_mean=rows / (len(arrived) - paused) if len(arrived) > paused else 0.0,
        removed={name: int(frames[f"removed_{name}"].sum()) for name in FILTERS},
        overflow=int(frames["overflow"].sum()),
        latency_ms=_latency_ms(arrived),
        accounting=[StepAccount(bytes(row["step"]).decode(), *row.tolist()[1:]) for row in steps],
        losses=merged(
            LostRange(int(r["first"]), int(r["last"]), bytes(r["step"]).decode(), bytes(r["cause"]).decode())
            for r in all_losses
        ),
        settings=_settings(arrived),
        events={str(kind): int(n) for kind, n in run.events["kind"].value_counts(sort=False).items()},
        faults=_check_frames(frames, losses, live) + faults + _check_rest(paths) + pixel_faults,
        notes=_notes(parts, len(paths), complete, live, repaired) + _told(told, complete or bool(repaired), live),
    )


def _check_pixels(
    run: Run, parts: list[Part], progress: Callable[[int, int], None] | None
) -> tuple[dict[str, Any], list[str]]:
    """What the report says of camera frames and crops, by its fields; and what is wrong with them."""
    pictures = _check_images(of_same_run(run.path, "images"), progress)
    tiffs, tiffs_compared, tiff_faults = _check_tiffs(run, parts, progress)
    crops, crop_faults = _check_crops(of_same_run(run.path, "crops"), progress)
    counts = {
        "images": pictures.frames, "images_compared": pictures.compared,
        "tiffs": tiffs, "tiffs_compared": tiffs_compared, "crops": crops,
    }  # fmt: skip
    return counts, pictures.faults + tiff_faults + crop_faults


def _check_images(first: Path, progress: Callable[[int, int], None] | None) -> ImageCheck:
    try:
        return check_images(first, progress=progress)
    except RunError as error:  # a file of which nothing can be read
        return ImageCheck(0, 0, [str(error)])


def _check_crops(first: Path, progress: Callable[[int, int], None] | None) -> tuple[int, list[str]]:
    try:
        return check_crops(first, progress)
    except RunError as error:
        return 0, [str(error)]


def _check_rest(paths: list[Path]) -> list[str]:
    """Every table that no other check reads: events, particles, streams, … to its last chunk."""
    faults: list[str] = []

    def look(name: str, found: h5py.Dataset | h5py.Group) -> None:
        if not isinstance(found, h5py.Dataset) or found.is_virtual or name in ("tracks", "frames"):
            return
        try:
            for start in range(0, len(found), BLOCK_ROWS) if found.ndim else ():
                found[start : start + BLOCK_ROWS]
        except (OSError, RuntimeError) as error:
            faults.append(f"{path.name}: /{name} cannot be read: {error}")

    for path in paths:
        with opened(path) as file:
            file.visititems(look)
    return faults


def _check_tiffs(
    run: Run, parts: list[Part], progress: Callable[[int, int], None] | None
) -> tuple[int, int, list[str]]:
    columns = ("frame", "checksum")
    frames: Table = np.concatenate([np.zeros(0, FRAMES)[list(columns)], *frame_blocks(parts, columns)])
    return check_tiffs(RunFolder(run.path.parent), frames, run.settings.camera.shape_hw, progress)


def _state(complete: bool, repaired: str) -> str:
    if not complete:
        return "cut short"
    return "repaired" if repaired else "finished"


def _check_frames(frames: Table, losses: Table, live: bool) -> list[str]:
    """Faults of the table of frames."""
    faults = []
    numbers = frames["frame"]
    steps = np.diff(numbers)
    if (steps <= 0).any():
        faults.append(f"/frames: number {numbers[1:][steps <= 0][0]} does not come after the one before it")
    for at in np.flatnonzero(steps > 1):
        faults.append(f"/frames: {numbers[at] + 1} to {numbers[at + 1] - 1} are missing without a word")
    lost = numbers[frames["step_code"] != NO_CODE]
    told = np.concatenate([np.arange(0), *(np.arange(r["first"], r["last"] + 1) for r in losses)])
    if not live and not np.array_equal(np.sort(told), lost):
        faults.append(f"/accounting/lost tells of {len(told)} lost frames, /frames of {len(lost)}")
    return faults


def _check_tracks(parts: list[Part]) -> tuple[int, int, list[str]]:
    """Rows, particles and faults of the table of tracks: each row belongs to the frame that says so.

    Particles are those that have rows: one that was seen only while recording was off is none of the file's.
    """
    rows, seen, faults = 0, np.zeros(1024, bool), []
    for part in parts:
        with opened(part.path) as file:
            for at, block, owners in owned_blocks(part.table, file["tracks"], part.tracks):
                wrong = np.flatnonzero(block["frame"] != owners)
                if len(wrong):
                    faults.append(
                        f"{part.path.name}: row {at + wrong[0]} of /tracks is of frame {block['frame'][wrong[0]]}, "
                        f"/frames has it as one of frame {owners[wrong[0]]}"
                    )
                largest = int(block["particle"].max(initial=-1))
                if largest >= len(seen):
                    seen = np.concatenate([seen, np.zeros(largest + 1, bool)])
                seen[block["particle"]] = True
        rows += part.tracks
    return rows, int(seen.sum()), faults


def _rate(arrived: Table) -> tuple[float, float]:
    """Seconds of camera time, and frames a second while it ran; holes count as the frames they would have been."""
    seconds = numbers = 0.0
    for sequence in np.unique(arrived["sequence"]):
        stretch = arrived[arrived["sequence"] == sequence]
        if len(stretch) > 1:
            seconds += float(stretch["t_camera_ns"][-1] - stretch["t_camera_ns"][0]) / 1e9
            numbers += float(stretch["frame"][-1] - stretch["frame"][0])
    return seconds, numbers / seconds if seconds > 0 else 0.0


def _latency_ms(arrived: Table) -> dict[str, float]:
    if not len(arrived):
        return {}
    latency = (arrived["t_published_ns"] - arrived["t_received_ns"]) / 1e6
    p50, p99 = np.quantile(latency, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99), "max": float(latency.max())}


def _settings(arrived: Table) -> list[SettingsStretch]:
    """Stretches of frames with one version of the settings, in order."""
    if not len(arrived):
        return []
    starts = np.flatnonzero(np.diff(arrived["settings"], prepend=arrived["settings"][0] - 1))
    return [
        SettingsStretch(
            int(arrived["settings"][start]),
            int(arrived["frame"][start]),
            int(arrived["frame"][end - 1]),
            int(end - start),
        )
        for start, end in zip(starts, [*starts[1:], len(arrived)])
    ]


def _told(told: Told | None, whole: bool, live: bool) -> list[str]:
    """Where the account of a run that was cut short is from."""
    if told is not None:
        why = f" ({told.reason})" if told.reason else ""
        return [f"the account is of the whole run{why}: what came after the end of the file is told by run.json"]
    if whole or live:
        return []
    return ["what came after the end of the file was never counted: run.json has no account of this run"]


def _notes(parts: list[Part], files: int, complete: bool, live: bool, repaired: str) -> list[str]:
    notes = []
    if repaired:
        notes.append(f"it was cut short, and made whole by `ringtrack inspect --repair` ({repaired})")
    torn = sum(part.torn for part in parts)
    if torn and not live:
        notes.append(f"{torn} frames at the end of a part had not reached the disk; they are left out")
    if not complete and not live:
        notes.append("the recorder did not close its file in order (killed, or the disk was full)")
    if files > 1:
        notes.append(f"{files} files, read as one: a recorder was restarted")
    return notes
