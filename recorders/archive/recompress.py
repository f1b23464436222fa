"""Pack the pictures of an archive tighter, when there is time: a higher effort, the same pixels.

Each picture is decoded, compared with its checksum, packed anew beside its place, decoded again, and only then put in
its place, in one step. Stopped or killed, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from recorders.archive.crew import Crew
from recorders.archive.index import Index, Row
from recorders.archive.worker import Request

COMMIT_ROWS = 16


class Recompressed(msgspec.Struct, kw_only=True):
    """What it came to."""

    pictures: int = 0  # that had a lower effort
    done: int = 0
    failed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def lines(self) -> list[str]:
        """For people."""
        saved = 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0
        out = [f"{self.done} of {self.pictures} pictures packed anew: {saved:.1%} smaller"]
        return out + ([f"{self.failed} are damaged, and were left as they are"] if self.failed else [])


def recompress(
    folder: Path,
    effort: int,
    workers: int,
    *,
    stopping: Callable[[], bool] = lambda: False,
    progress: Callable[[Recompressed], None] = lambda account: None,
    complain: Callable[[str], None] = lambda text: None,
) -> Recompressed:
    """Pack every picture of an archive that has a lower effort anew. The caller owns the folder."""
    account = Recompressed()
    with Index(folder) as index, Crew(workers) as crew:
        todo = [row for row in index.rows.values() if row.effort < effort]
        account.pictures = len(todo)
        left = iter(todo)
        ready: list[Row] = []
        in_hand = 0
        while not stopping():
            while in_hand < 2 * workers and (row := next(left, None)) is not None:
                crew.submit(row, _request(folder, row, effort))
                in_hand += 1
            if not in_hand:
                break
            for row, _, answer in crew.results(0.1):
                in_hand -= 1
                if not answer.ok:
                    account.failed += 1
                    complain(f"{row.jxl}: {answer.why}")
                    continue
                account.done += 1
                account.bytes_before += row.bytes_jxl
                account.bytes_after += answer.bytes_jxl
                ready.append(msgspec.structs.replace(row, bytes_jxl=answer.bytes_jxl, effort=effort))
            if len(ready) >= COMMIT_ROWS:
                index.add(ready)
                ready = []
            progress(account)
        index.add(ready)
    return account


def _request(folder: Path, row: Row, effort: int) -> Request:
    return Request(do="repack", target=str(folder / PurePosixPath(row.jxl)), checksum=row.checksum, effort=effort)
