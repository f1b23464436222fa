"""Pack the pictures of an archive tighter, when there is time: a higher effort, the same pixels.

Each picture is decoded, compared with its checksum, packed anew beside its place, decoded again, and only then put in
its place, in one step. Stopped or killed, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from engine.errors import MachineError
from recorders.archive.crew import Crew
from recorders.archive.index import Index, Row
from recorders.archive.worker import Answer, Request

COMMIT_ROWS = 16


class Recompressed(msgspec.Struct, kw_only=True):
    """What it came to."""

    pictures: int = 0  # that had a lower effort
    done: int = 0
    failed: int = 0  # damaged
    not_written: int = 0  # the disk did not take them, or they are not there
    bytes_before: int = 0
    bytes_after: int = 0

    def lines(self) -> list[str]:
        """For people."""
        saved = 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0
        out = [f"{self.done} of {self.pictures} pictures packed anew: {saved:.1%} smaller"]
        if self.failed:
            out.append(f"{self.failed} are damaged, and were left as they are")
        if self.not_written:
            out.append(f"{self.not_written} could not be read or written, and are as they were")
        return out


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
    with Index(folder) as index:
        ready: list[Row] = []

        def keep(results: list[tuple[Row, Request, Answer]], at_least: int) -> None:
            """Take what workers have done, and write it down once it is so much."""
            for row, _, answer in results:
                if answer.ok:
                    account.done += 1
                    account.bytes_before += row.bytes_jxl
                    account.bytes_after += answer.bytes_jxl
                    ready.append(msgspec.structs.replace(row, bytes_jxl=answer.bytes_jxl, effort=effort))
                    continue
                account.failed += answer.blame != "disk"
                account.not_written += answer.blame == "disk"
                complain(f"{row.jxl}: {answer.why}")
            if len(ready) >= at_least:
                try:
                    index.add(ready)
                except OSError as error:
                    raise MachineError(
                        f"{index.path} could not be written: {error.strerror}. The pictures are whole; do it again"
                    ) from None
                ready.clear()

        with Crew(workers) as crew:
            todo = [row for row in index.rows.values() if row.effort < effort]
            account.pictures = len(todo)
            left = iter(todo)
            in_hand = 0
            while not stopping():
                while in_hand < 2 * workers and (row := next(left, None)) is not None:
                    crew.submit(row, _request(folder, row, effort))
                    in_hand += 1
                if not in_hand:
                    break
                results = crew.results(0.1)
                in_hand -= len(results)
                keep(results, COMMIT_ROWS)
                progress(account)
        keep(crew.results(), 0)  # told to stop, workers have finished what was in hand
    return account


def _request(folder: Path, row: Row, effort: int) -> Request:
    return Request(do="repack", target=str(folder / PurePosixPath(row.jxl)), checksum=row.checksum, effort=effort)
