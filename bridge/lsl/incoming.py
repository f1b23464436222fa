"""Streams of others that a run takes in: markers into its events, numbers into a table of each stream.

A thread of its own looks for the streams named in the settings and reads them, so that a peer that stalls delays
nothing. Times are the sender's, moved to our clock by LSL's own measurement (`time_correction`).

Numbers are appended to `streams/<name>.rows` of the run's folder (STAMPED records: our clock in nanoseconds, then one
float64 a channel), described by `streams/<name>.json`; the HDF5 recorder puts them into `/streams/<name>` at the end.
A sample that was written before a crash is there after it; half a record at the end is cut off by whoever reads.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from engine.clocks import NS

LOOK_EVERY_S = 1.0
PATIENCE_S = 10.0
"""A stream that has not appeared by then is complained of: its name may be another one."""
CORRECT_EVERY_S = 5.0
FOLDER = "streams"


def stamped(channels: int) -> np.dtype[Any]:
    """The records of a stream's file: `t_ns` and `values`."""
    return np.dtype([("t_ns", "<i8"), ("values", "<f8", (channels,))])


class NumberFile:
    """The table of one stream, appended to; a stream that comes again with other channels gets the next name."""

    def __init__(self, run_folder: Path, name: str, labels: list[str], units: list[str]) -> None:
        folder = run_folder / FOLDER
        folder.mkdir(exist_ok=True)
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "stream"
        about = {"name": name, "labels": labels, "units": units}
        number = 1
        while True:
            path = folder / (plain if number == 1 else f"{plain}_{number}")
            described = path.with_name(path.name + ".json")
            if not described.exists():
                described.write_text(json.dumps(about))
                break
            if json.loads(described.read_text() or "{}") == about:
                break
            number += 1
        self._dtype = stamped(len(labels))
        self._path = path.with_name(path.name + ".rows")
        if self._path.exists():  # of a process that died within a record
            size = self._path.stat().st_size
            with self._path.open("r+b") as file:
                file.truncate(size - size % self._dtype.itemsize)
        self._file: BinaryIO = self._path.open("ab", buffering=0)

    def append(self, t_ns: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> None:
        """Samples `(n,)` and `(n, channels)`; one write."""
        records = np.empty(len(t_ns), self._dtype)
        records["t_ns"], records["values"] = t_ns, values
        self._file.write(records.tobytes())

    def close(self) -> None:
        self._file.close()


class _Inlet:
    """One stream that is being read."""

    def __init__(self, pylsl: Any, info: Any, offset_s: float, run_folder: Path) -> None:
        self.name = info.name()
        self.text = info.channel_format() == pylsl.cf_string
        self._inlet = pylsl.StreamInlet(info, max_buflen=60, recover=True)
        self._correction_s, self._due_s = 0.0, 0.0
        self._clock = pylsl.local_clock
        self._offset_s = offset_s
        self._numbers: NumberFile | None = None
        if not self.text:
            full = self._inlet.info(timeout=5.0)
            labels, units = full.get_channel_labels(), full.get_channel_units()
            count = full.channel_count()
            labels = [label or f"channel{i}" for i, label in enumerate(labels or [""] * count)]
            self._numbers = NumberFile(run_folder, self.name, labels, [u or "" for u in units or [""] * count])

    def read(self, mark: Callable[[int, str, str], None]) -> int:
        """Take what has come; how many samples."""
        if self._clock() >= self._due_s:
            try:
                self._correction_s = self._inlet.time_correction(timeout=0.5)
                self._due_s = self._clock() + CORRECT_EVERY_S
            except Exception:  # it did not answer in time: pylsl has an exception of its own for that
                self._due_s = self._clock() + LOOK_EVERY_S
        samples, stamps = self._inlet.pull_chunk(timeout=0.0, max_samples=4096)
        if not len(stamps):
            return 0
        ours = np.asarray(stamps) + self._correction_s - self._offset_s
        t_ns = np.rint(ours * NS).astype(np.int64)
        if self._numbers is not None:
            self._numbers.append(t_ns, np.asarray(samples, float))
        else:
            for t, sample in zip(t_ns.tolist(), samples):
                mark(t, self.name, " ".join(sample))
        return len(stamps)

    def close(self) -> None:
        self._inlet.close_stream()
        if self._numbers is not None:
            self._numbers.close()


class Incoming:
    """Reads the named streams while the block lasts. Nothing is started if there are no names."""

    def __init__(
        self,
        pylsl: Any,
        names: tuple[str, ...],
        run_folder: Path,
        mark: Callable[[int, str, str], None],
        log: Callable[[str, str], None],
        offset_s: float = 0.0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """`mark(t_ns, stream, text)` takes a marker; `offset_s`: LSL's clock minus ours."""
        self.taken = 0
        self._complain_at = time.monotonic() + patience_s
        self._seen: set[str] = set()
        self._pylsl, self._names, self._folder = pylsl, names, run_folder
        self._mark, self._log, self._offset_s = mark, log, offset_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lsl-incoming", daemon=True)

    def __enter__(self) -> Incoming:
        if self._names:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        inlets: dict[str, _Inlet] = {}
        resolvers = {name: self._pylsl.ContinuousResolver(prop="name", value=name) for name in self._names}
        try:
            while not self._stop.wait(0.01):
                self._look(resolvers, inlets)
                if time.monotonic() >= self._complain_at:
                    self._complain_at = math.inf  # once
                    self._complain()
                for inlet in list(inlets.values()):
                    self._read(inlets, inlet)
        finally:
            for inlet in inlets.values():
                self._read(inlets, inlet, last=True)
                inlet.close()
            for name in self._missing():
                self._log("warning", f"lsl.record: the stream {name} never appeared: nothing of it is in the file")

    def _missing(self) -> list[str]:
        return [name for name in self._names if name not in self._seen]

    def _complain(self) -> None:
        """Say which streams are not there, and which are."""
        if missing := self._missing():
            there = sorted({info.name() for info in self._pylsl.resolve_streams(wait_time=1.0)} - set(self._names))
            self._log(
                "warning",
                f"lsl.record: no stream is named {', '.join(missing)} so far (there: {', '.join(there) or 'none'}); "
                "it is looked for until the run ends",
            )

    def _look(self, resolvers: dict[str, Any], inlets: dict[str, _Inlet]) -> None:
        for name, resolver in resolvers.items():
            if name in inlets:
                continue
            for info in resolver.results()[:1]:
                try:
                    inlets[name] = _Inlet(self._pylsl, info, self._offset_s, self._folder)
                    self._seen.add(name)
                    self._log("info", f"lsl: the stream {name} is being recorded")
                except Exception as error:  # whatever liblsl says of another program's stream
                    self._log("warning", f"lsl: the stream {name} cannot be read: {error}")

    def _read(self, inlets: dict[str, _Inlet], inlet: _Inlet, *, last: bool = False) -> None:
        try:
            self.taken += inlet.read(self._mark)
        except Exception as error:  # whatever liblsl says of another program's stream
            self._log("warning", f"lsl: the stream {inlet.name} broke off: {error}")
            if not last:
                inlet.close()
                del inlets[inlet.name]
