"""What a call gives back, and how it is read from an answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import PeerError

if TYPE_CHECKING:
    import pandas as pd


class OfFrame:
    """What is known of one frame's particles."""

    rows: NDArray[Any]  # engine.rows.ROW; x and y in pixels of the camera

    @property
    def particles(self) -> pd.DataFrame:
        """One row a particle, trackpy's names."""
        import pandas as pd

        return pd.DataFrame(self.rows)


@dataclass(frozen=True)
class Image(OfFrame):
    """The newest frame. `pixels` (height, width) as the camera sent them, each `step` pixels of the camera apart."""

    frame: int
    pixels: NDArray[Any]
    rows: NDArray[Any]
    step: int
    meta: dict[str, int]  # times in nanoseconds of the tracking machine's clock, settings version, ...
    corner_yx: tuple[int, int] = (0, 0)  # of the first pixel, in the camera's frame
    saturated: NDArray[np.uint32] | None = None  # flat indices of pixels at the sensor's limit, where asked for


@dataclass(frozen=True)
class FrameResult(OfFrame):
    """The particles of one frame."""

    frame: int
    place: int
    rows: NDArray[Any]
    meta: dict[str, int]


@dataclass(frozen=True)
class Settings:
    """A version of the settings; `from_frame`: the first frame tracked with it, None if none has come yet."""

    version: int
    tracking: Any  # engine.experiment.Tracking
    linking: Any  # engine.experiment.Linking
    undo_to: int | None
    from_frame: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)  # keys that were changed just now, with their new values


def settings_of(result: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Settings:
    """Raises PeerError if the run has settings that this release does not know."""
    from engine.experiment import Linking, Tracking

    try:
        tracking, linking = msgspec.convert(result["tracking"], Tracking), msgspec.convert(result["linking"], Linking)
    except msgspec.ValidationError as error:
        raise PeerError(f"the settings of the run are of another release of ringtrack: {error}") from None
    return Settings(
        version=result["version"], tracking=tracking, linking=linking, undo_to=result["undo_to"],
        from_frame=result.get("from_frame"), changes=result.get("changes", {}),
    )  # fmt: skip


def image_of(result: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Image:
    """The image of an answer to `Latest`; one without pixels has none of them (0, 0)."""
    meta = result["meta"]
    y, x = result["corner"]
    return Image(
        meta["frame"], arrays.get("pixels", np.zeros((0, 0))), arrays["rows"], result["step"], meta, (y, x),
        arrays.get("saturated"),
    )  # fmt: skip


def results_of(result: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> list[FrameResult]:
    """The frames of an answer to `Results`, in order: their rows come as one array."""
    found, start = [], 0
    for frame in result["frames"]:
        rows = arrays["rows"][start : start + frame["rows"]]
        start += frame["rows"]
        found.append(FrameResult(frame["frame"], frame["place"], rows, frame))
    return found
