"""What a run can be asked for: every call of `bridge.Client` and `bridge.AsyncClient`, said once for both.

Calls that are more than a question and its answer (`results`, `upload_image`) are each client's own.
"""

from __future__ import annotations

from typing import Any

import msgspec
from numpy.typing import NDArray

from bridge import control_wire as wire
from bridge.answers import FrameResult, Image, Settings, image_of, results_of, settings_of
from bridge.both_ways import Arrays, Ask, Result, as_it_is, asking, nothing
from bridge.connection import Connection
from bridge.control_faults import fault_of
from engine.errors import SettingsError


class Calls(Connection):
    """The calls. To be `bridge.both_ways.Waiting` or `Awaiting`, too."""

    @asking
    def hello(self) -> Ask[dict[str, Any]]:
        """The run: name, folder, camera, which keys are live."""
        return Ask(wire.Hello(), as_it_is)

    @asking
    def settings(self, version: int = 0) -> Ask[Settings]:
        """The settings of a version; 0: of the newest."""
        return Ask(wire.GetSettings(version=version), settings_of)

    @asking
    def configure(self, values: dict[str, Any]) -> Ask[Settings]:
        """Other values for live keys, as {"tracking.minmass": 400, "linking.memory": 5}; all or none."""
        return Ask(wire.SetSettings(values=values), settings_of)

    @asking
    def configure_tracking(self, values: dict[str, Any] | None = None, /, **more: Any) -> Ask[Settings]:
        """Other values for keys of [tracking]: `configure_tracking(minmass=400)`."""
        return Ask(wire.SetSettings(values=keys_of("tracking", values, more)), settings_of)

    @asking
    def configure_linking(self, values: dict[str, Any] | None = None, /, **more: Any) -> Ask[Settings]:
        """Other values for keys of [linking]."""
        return Ask(wire.SetSettings(values=keys_of("linking", values, more)), settings_of)

    @asking
    def undo(self) -> Ask[Settings]:
        """Bring back the settings before the last change."""
        return Ask(wire.Undo(), settings_of)

    @asking
    def preview(self, values: dict[str, Any] | None = None, /, **more: Any) -> Ask[NDArray[Any]]:
        """Features that the newest frame would have with other values of [tracking]; nothing is changed."""
        return Ask(wire.Preview(values=keys_of("tracking", values, more)), lambda result, arrays: arrays["rows"])

    @asking
    def get_latest_image(
        self,
        most_px: int = 0,
        region: tuple[int, int, int, int] | None = None,
        *,
        saturated: bool = False,
        clip: bool = False,
    ) -> Ask[Image]:
        """The newest frame with its particles; reduced until no side is longer than `most_px` (0: as it is).

        `region`: only the pixels of rows y0 to y1 and columns x0 to x1; particles are those of the whole frame. Raises
        SettingsError for a region that is not in the frame, unless `clip`: then as much of it as is.
        """
        return Ask(wire.Latest(most_px=most_px, region=region, saturated=saturated, clip=clip), image_of)

    @asking
    def metrics(self) -> Ask[dict[str, Any]]:
        """Rates, latencies, counts, processes, by name."""
        return Ask(wire.Metrics(), as_it_is)

    @asking
    def accounting(self) -> Ask[dict[str, Any]]:
        """Each step's arrived, out, lost and in flight, and the ranges of frames that were lost."""
        return Ask(wire.Accounting(), as_it_is)

    @asking
    def mark(self, text: str) -> Ask[int]:
        """Mark the newest frame in the run's events; its number. A rule (record.trigger) may wait for it."""
        return Ask(wire.Mark(text=text), lambda result, _: int(result["frame"]))

    @asking
    def note(self, text: str) -> Ask[None]:
        """Write a remark into the run's events, at this moment."""
        return Ask(wire.Note(text=text), nothing)

    @asking
    def trace(self, seconds: float = 5.0) -> Ask[str]:
        """Have a trace of so many seconds written, for ui.perfetto.dev; the file on the tracking machine."""
        return Ask(wire.Trace(seconds=seconds), file_of)

    @asking
    def save_stack(self, name: str = "stack", count: int = 0) -> Ask[str]:
        """Have frames written as one BigTIFF into the run's folder: the next `count`, or (0) those in the ring.

        The file on the tracking machine; it has its name when it is complete.
        """
        return Ask(wire.SaveStack(name=name, count=count), file_of)

    @asking
    def record(
        self, action: str = "start", name: str = "", *, before_s: float = 0, for_s: float = 0
    ) -> Ask[dict[str, Any]]:
        """Start, stop, pause or resume recording; the state, and `from_frame`, the first frame that it holds for.

        `before_s`: frames of the last seconds are of the take too; `for_s`: it ends by itself. Raises SettingsError.
        """
        return Ask(record_request(action, name, before_s, for_s), as_it_is)

    @asking
    def configure_storage(self, values: dict[str, bool] | None = None, /, **more: bool) -> Ask[dict[str, Any]]:
        """Switch outputs of the run off and on: `configure_storage(csv=False, lsl=True)`; `outputs` as they are now.

        `from_frame`: the first frame that it holds for. Raises SettingsError for one that the run was started without.
        """
        return Ask(wire.Storage(values=(values or {}) | more), as_it_is)

    @asking
    def log(self, lines: int = 20) -> Ask[list[dict[str, Any]]]:
        """The last lines of the run's log."""
        return Ask(wire.LogLines(lines=lines), lambda result, _: list(result["lines"]))

    @asking
    def stop(self) -> Ask[None]:
        """End the run in order."""
        return Ask(wire.Stop(), nothing)


class Following:
    """How far a reader of results has come, in the one run that it began with."""

    def __init__(self, client: Connection, run_id: str, from_frame: int | None, wait_s: float) -> None:
        self._client, self._run_id = client, run_id
        self._from_frame, self._wait_s = from_frame, wait_s
        self._after: int | None = None
        self.closed = False  # the run has ended, and its last result has been read

    def more(self) -> Ask[list[FrameResult]]:
        """For what comes next, in order."""
        request = wire.Results(after=self._after, from_frame=self._from_frame, wait_s=self._wait_s, run=self._run_id)
        return Ask(request, self._read)

    def _read(self, result: Result, arrays: Arrays) -> list[FrameResult]:
        self._after, self._run_id = result["after"], self._client.run_id
        self.closed = bool(result["closed"])
        return results_of(result, arrays)


def file_of(result: Result, arrays: Arrays) -> str:
    """Where it was written, on the tracking machine."""
    return str(result["file"])


def record_request(action: str, name: str, before_s: float, for_s: float) -> wire.Record:
    """What `record` asks. Raises SettingsError, in the server's words, before anything is sent."""
    given = {"ask": "record", "action": action, "name": name, "before_s": before_s, "for_s": for_s}
    try:
        return msgspec.convert(given, wire.Record)
    except msgspec.ValidationError:
        raise SettingsError(fault_of(given, wire.AnyRequest)) from None


def keys_of(section: str, values: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
    """Values by their full names: "minmass" is "tracking.minmass"; `more` goes before `values`."""
    return {key if "." in key else f"{section}.{key}": value for key, value in ((values or {}) | more).items()}
