"""How many camera frames are not in the files because a recorder of frames was too slow, from the events of the run.

A recorder says so at once, by place in the frame ring (`recorders.frame_loop`): the words are there though it is killed
the next moment. The account of a run counts results, and pictures apart: a frame without its picture has its rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.accounting import Pictures
from recorders.inbox import Inbox

EVENT = "images lost"


def pictures_of(kept: Mapping[str, int], run_folder: Path, every: int, events: Iterable[str] = ()) -> list[Pictures]:
    """What each recorder of frames kept and was too slow for. `kept`: pictures in its files, by its name.

    `every`: `record.image_every`; of the places that it did not get one in so many was wanted. `events`: JSON texts of
    the events in the file of the tables; those of the inbox are read too, where it is (what is in both counts once).
    """
    inbox = [event.text for event in Inbox(run_folder).read() if event.kind == EVENT]
    places = _lost_places([*inbox, *events])
    names = [*kept, *(name for name in places if name not in kept)]
    return [Pictures(name, kept.get(name, 0), round(places.get(name, 0) / every), every) for name in names]


def _lost_places(texts: Iterable[str]) -> dict[str, int]:
    """Places of the ring that each recorder did not get."""
    ranges: dict[str, set[tuple[int, int]]] = {}
    for text in texts:
        try:
            fields = json.loads(text)
            first, last = json.loads(fields["places"])
            ranges.setdefault(str(fields["process"]), set()).add((int(first), int(last)))
        except (ValueError, KeyError, TypeError):
            continue
    return {name: _covered(found) for name, found in ranges.items()}


def _covered(ranges: Iterable[tuple[int, int]]) -> int:
    """Numbers in at least one of the ranges."""
    count, end = 0, -1
    for first, last in sorted(ranges):
        count += max(0, last - max(first - 1, end))
        end = max(end, last)
    return count
