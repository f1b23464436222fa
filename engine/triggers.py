"""Rules that start a recording by themselves: `record.trigger`.

"count >= 5"              so many particles in a frame (also <=, >, <)
"inside 100:200, 300:400" a particle within these rows and columns of the frame (y0:y1, x0:x1, pixels)
"marker laser on"         an event of the run whose text has these words in it
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from engine.regions import are_inside, region_of

_COUNT = re.compile(r"count\s*(>=|<=|>|<)\s*(\d+)")
_COMPARED: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip


class Trigger(NamedTuple):
    """A rule. One of the two asks: about a frame's rows, or about the text of an event."""

    text: str
    of_rows: Callable[[NDArray[Any]], bool] | None = None
    words: str = ""

    def of_event(self, text: str) -> bool:
        """Whether an event with this text pulls it."""
        return bool(self.words) and self.words.lower() in text.lower()


def parse_trigger(text: str) -> Trigger | None:
    """The rule; None for an empty text. Raises ValueError if it is not understood."""
    text = text.strip()
    if not text:
        return None
    kind, _, rest = text.partition(" ")
    if match := _COUNT.fullmatch(text):
        compare, limit = _COMPARED[match[1]], int(match[2])
        return Trigger(text, lambda rows: compare(len(rows), limit))
    if kind == "inside":
        y0, y1, x0, x1 = region_of(rest)
        if not (y0 < y1 and x0 < x1):
            raise ValueError(text)
        return Trigger(text, lambda rows: bool(are_inside(rows, y0, y1, x0, x1).any()))
    if kind == "marker" and rest.strip():
        return Trigger(text, words=rest.strip())
    raise ValueError(text)
