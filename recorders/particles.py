"""`/particles`: one row a particle, gathered while the rows of `/tracks` go by.

Values are added in the order of the rows, one after the other, so that the same tracks give the same bytes however they
were cut into batches, parts or blocks. What is kept is 72 bytes a particle, whatever the length of the run.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="misc, untyped-decorator"
from collections.abc import Iterable

import h5py
import numpy as np
from numba import njit

from engine.rows import ROW
from recorders.tables import Table

NAME = "particles"
MEANS = ("x", "y", "mass", "size", "ecc", "signal")
PARTICLES = np.dtype(
    [
        ("particle", "<i8"),  # as in /tracks
        ("first_frame", "<i8"),
        ("last_frame", "<i8"),
        ("count", "<i8"),  # its rows in /tracks: frames in which it was seen
        *[(name, "<f8") for name in MEANS],  # means over these rows
    ]
)
CHUNK_ROWS = 4096


class Particles:
    """Sums of what went by so far."""

    def __init__(self) -> None:
        self._rows = np.zeros(0, PARTICLES)  # the place is the particle; sums in the columns of the means
        self._seen = 0  # particles 0 to this one, not included
        _add(np.zeros(0, ROW), self._rows)  # compiled, or loaded, before the first frame

    def add(self, rows: Table) -> None:
        """Take rows of `/tracks`, which come in order of frame."""
        rows = np.require(rows, ROW, ["C", "W"])
        if not len(rows):
            return
        self._seen = max(self._seen, int(rows["particle"].max()) + 1)
        if self._seen > len(self._rows):
            larger = np.zeros(max(1024, 2 * self._seen), PARTICLES)
            larger[: len(self._rows)] = self._rows
            larger["first_frame"][len(self._rows) :] = np.iinfo(np.int64).max
            self._rows = larger
        _add(rows, self._rows)

    def table(self) -> Table:
        """A row for each particle that was seen, in order of its number."""
        out = self._rows[: self._seen].copy()
        out["particle"] = np.arange(len(out))
        out = out[out["count"] > 0]
        for name in MEANS:
            out[name] /= out["count"]
        return out


@njit(nogil=True, cache=True)
def _add(rows, particles):
    for i in range(len(rows)):
        row = rows[i]
        if row.particle < 0:  # never linked: no particle's
            continue
        one = particles[row.particle]
        one.first_frame = min(one.first_frame, row.frame)
        one.last_frame = max(one.last_frame, row.frame)
        one.count += 1
        one.x += row.x
        one.y += row.y
        one.mass += row.mass
        one.size += row.size
        one.ecc += row.ecc
        one.signal += row.signal


def particles_of(blocks: Iterable[Table]) -> Table:
    """The table of all rows of `/tracks`, given in blocks."""
    found = Particles()
    for block in blocks:
        found.add(block)
    return found.table()


def make_particles(file: h5py.File) -> None:
    """The empty table, before a file is opened to readers."""
    file.create_dataset(NAME, (0,), PARTICLES, maxshape=(None,), chunks=(CHUNK_ROWS,))


def write_particles(file: h5py.File, table: Table) -> None:
    """Fill the table of a file that ends."""
    file[NAME].resize((len(table),))
    if len(table):
        file[NAME][...] = table
