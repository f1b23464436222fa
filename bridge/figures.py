"""What a run is doing, in figures: rates, latencies of each step, processes, losses. From shared words alone.

Rates are over the time since the caller's last look (at least `SHORTEST_S`), so each onlooker keeps a `Figures`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

from bridge.looking import Looker
from bridge.takes import recording_facts
from engine.accounting import CAUSE_WORDS, Cause, Step
from engine.clocks import NS, monotonic_ns
from engine.live import LiveSettings
from engine.rings import Rings
from engine.rows import STEP_TIMES
from engine.shm.status import quantiles_ms
from engine.workers.linker import read_tally

SHORTEST_S = 0.25
KEPT_S = 0.05
MOST_RECORDS = 60_000
"""Of losses, that are read at once: some fewer than are kept."""
RECENT = 128
"""Frames over which the times of the steps are taken."""
HIDDEN = ("note0_", "note1_", "note_bye")
"""Counters that are a process's own memory, nobody's figures."""


class Figures:
    """Figures of one run, for one onlooker."""

    def __init__(self, rings: Rings) -> None:
        self._rings = rings
        self._looker = Looker(rings)
        self._live = LiveSettings(rings)
        self._made: dict[str, Any] = {}
        self._made_at = -KEPT_S
        self._lost: Counter[int] = Counter()  # by step, of the first `_ledger_read` records
        self._ledger_read = 0
        self._before = (time.monotonic(), self._progress())
        self._rates: dict[str, float] = {"frames": 0.0, "received": 0.0, "busy": 0.0}
        self._measured = False

    def metrics(self) -> dict[str, Any]:
        """All of it, by name, at most `KEPT_S` old. Names and units: docs/reference/control-protocol.md."""
        now = time.monotonic()
        if now - self._made_at > KEPT_S:  # who polls costs the run less
            made = self._metrics()
            made["recording"] = recording_facts(self._live, self._rings.plan, made)
            self._made, self._made_at = made, now
        return self._made

    def _metrics(self) -> dict[str, Any]:
        rings, tally = self._rings, self.tally()
        metas = self._looker.metas(RECENT)
        self._measure(metas)
        last = metas[-1] if len(metas) else None
        lost = sum(self._lost_by_step().values())
        workers = [p for p in rings.plan.of_kind("tracker") if rings.block(p.name).promoted]
        linkers = [rings.block(process.name).histogram() for process in rings.plan.of_kind("linker")]
        latency = quantiles_ms(np.sum(linkers, axis=0))
        received = rings.frames.newest + 1 - tally["closed"]
        done = rings.results.newest + 1 - tally["closed"]
        steps = {name: _spread(metas, *ends) for name, ends in STEP_TIMES.items()}
        if recording := self._recording_ms():
            steps["recording"] = recording
        recorded = rings.frames_recorded() or 0
        return {
            "frame_count": tally["tracked"],
            "track_count": int(last["rows"]) if last is not None else 0,
            "process_rate": round(self._rates["frames"], 2),
            "receive_rate": round(self._rates["received"], 2),
            "error_count": tally["failed"] + lost,
            "mean_ms": steps["total"]["mean"],
            "peak_ms": latency["max"],
            "p50_ms": latency["p50"],
            "p99_ms": latency["p99"],
            "queue_depth": max(0, received - done),
            "ring_slots": rings.frames.slots,
            "worker_utilisation": round(min(1.0, self._rates["busy"] / max(1, len(workers))), 3),
            "received": received,
            "tracked": tally["tracked"],
            "failed": tally["failed"],
            "lost": tally["failed"] + lost,
            "recorded": recorded,
            "lag_frames": max(0, received - done),
            "lag_ms": self._lag_ms(),
            "frame": int(last["frame"]) if last is not None else -1,
            "settings": int(last["settings"]) if last is not None else rings.settings_version,
            "settings_newest": rings.settings_version,
            "features_mean": round(tally["rows"] / tally["tracked"], 2) if tally["tracked"] else 0.0,
            "closed": bool(tally["closed"]),
            "step_ms": steps,
            "seconds": round((monotonic_ns() - rings.plan.started_mono_ns) / NS, 1),
            "bytes_recorded": sum(self._counters(p.name).get("bytes", 0) for p in rings.plan.of_kind("recorder")),
            "processes": self.processes(),
        }

    def _lag_ms(self) -> float:
        """How long ago the frame that tracking is at was received; 0: it is up to date."""
        frames, results = self._rings.frames, self._rings.results
        if frames.newest <= results.newest or results.newest < 0:
            return 0.0
        received_ns = int(results.record(results.newest)["t_received_ns"][0])
        return round(max(0.0, (monotonic_ns() - received_ns) / 1e6), 1)

    def _recording_ms(self) -> dict[str, float]:
        """From publication until a recorder of tables had written the frame, over the whole run; empty: none has."""
        for process in self._rings.plan.of_kind("recorder"):
            found = quantiles_ms(self._rings.block(process.name).histogram())
            if found["count"]:
                return {"mean": found["p50"]} | {name: round(found[name], 3) for name in ("p50", "p99", "max")}
        return {}

    def processes(self) -> dict[str, dict[str, Any]]:
        """State, pid and counters of every process, without what is its own memory."""
        return {
            process.name: {
                "state": self._rings.block(process.name).state.name.lower(),
                "pid": self._rings.block(process.name).pid,
                "cores": list(process.cores),
                "counters": self._counters(process.name),
            }
            for process in self._rings.plan.processes
        }

    def accounting(self) -> list[dict[str, Any]]:
        """Each step up to the linker: arrived = out + lost + in flight."""
        tally, counted = self.tally(), self._lost_by_step()
        received = self._rings.frames.newest + 1 - tally["closed"]
        lost = {step: counted.get(step, 0) for step in (Step.CAMERA, Step.SENDER, Step.RECEIVER)}
        arrived, account = received + sum(lost.values()), []
        for step, count in lost.items():
            account.append(_step(step.name, arrived, arrived - count, count))
            arrived -= count
        account.append(_step("tracker", arrived, tally["tracked"], tally["failed"]))
        account.append(_step("linker", tally["tracked"], tally["tracked"], 0))
        return account

    def losses(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest ranges of lost frame numbers, with where and why."""
        count = self._rings.ledger.count
        return [
            {
                "first": int(one["first"]), "last": int(one["last"]), "step": Step(int(one["step"])).name.lower(),
                "cause": CAUSE_WORDS[Cause(int(one["cause"]))],
            }
            for one in self._rings.ledger.read(max(0, count - most), count)
        ]  # fmt: skip

    def tally(self) -> dict[str, int]:
        """What the linker has published, exact at any moment. Raises RuntimeError if its memory is damaged."""
        tally: dict[str, int] | None = None
        for _ in range(100):
            newest = self._rings.results.newest
            try:
                tally = read_tally(self._rings.state.in_force(newest))
            except RuntimeError:  # published meanwhile
                continue
            if self._rings.results.newest == newest:
                break
        if tally is None:
            raise RuntimeError("the state of the linker cannot be read")
        return tally

    def _measure(self, metas: Any) -> None:
        """Rates since the last look; at the first one those of the last second, as the stamps of its frames say."""
        now, progress = time.monotonic(), self._progress()
        before, old = self._before
        if now - before >= SHORTEST_S:
            self._rates = {name: max(0, progress[name] - old[name]) / (now - before) for name in progress}
            self._rates["busy"] /= NS
            self._before, self._measured = (now, progress), True
        elif not self._measured:
            for name, stamp in (("frames", "t_published_ns"), ("received", "t_received_ns")):
                stamps = metas[stamp][metas[stamp] > monotonic_ns() - NS]
                if len(stamps) > 1:
                    self._rates[name] = (len(stamps) - 1) * NS / max(1, int(stamps[-1] - stamps[0]))

    def _progress(self) -> dict[str, int]:
        rings = self._rings
        busy = sum(rings.block(p.name).counters().get("busy_ns", 0) for p in rings.plan.of_kind("tracker"))
        return {"frames": rings.results.newest, "received": rings.frames.newest, "busy": busy}

    def _counters(self, name: str) -> dict[str, int]:
        counters = self._rings.block(name).counters()
        return {key: value for key, value in counters.items() if not key.startswith(HIDDEN)}

    def _lost_by_step(self) -> dict[int, int]:
        """Frames lost before tracking, by where. Each record is read once: there may be many, and older ones go."""
        ledger = self._rings.ledger
        count = ledger.count
        records = ledger.read(max(self._ledger_read, count - MOST_RECORDS), count)
        counts = records["last"] - records["first"] + 1
        for step in np.unique(records["step"]):
            self._lost[int(step)] += int(counts[records["step"] == step].sum())
        self._ledger_read = count
        return self._lost


def _step(name: str, arrived: int, out: int, lost: int) -> dict[str, Any]:
    return {
        "step": name.lower(), "arrived": arrived, "out": out, "lost": lost, "in_flight": max(0, arrived - out - lost),
    }  # fmt: skip


def _spread(metas: Any, start: str, end: str) -> dict[str, float]:
    """Mean, median, 99 % and largest of a step, in milliseconds; zeros before the first frame."""
    if not len(metas):
        return dict.fromkeys(("mean", "p50", "p99", "max"), 0.0)
    took = np.clip((metas[end] - metas[start]) / 1e6, 0, None)
    p50, p99 = np.percentile(took, [50, 99])
    return {
        "mean": round(float(took.mean()), 3), "p50": round(float(p50), 3), "p99": round(float(p99), 3),
        "max": round(float(took.max()), 3),
    }  # fmt: skip
