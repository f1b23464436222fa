"""The keeper of a RAM disk: every file becomes a verified picture, and only then, and only if it may be, is deleted.

The life of a file, each step safe before the next one begins:

1. *waiting*: a worker reads it, packs it, brings the picture to the disk under its name
2. *packed*: a worker reads the picture back, decodes it, and compares its pixels' checksum with the original's; so it
   does with the picture of a file that the index knows already
3. *verified*: its line is in `archive.csv`, and on the disk
4. deleted, if it is still the file that was read, and, where frames are also sent, if the run has taken it

A crash between any two steps leaves the original, and the step is done again. `taken.csv` remembers which files a run
has taken but nobody has archived yet; a sender that starts again would not send those once more.

When the RAM disk rises above its mark, pictures are verified before others are packed, since that alone makes room;
what does not go fast enough is moved to `DEST/waiting` ("move"), a disk with more room, from 20 s before the mark on,
and archived from there; or nothing is done but warned of ("wait"). Nothing is ever deleted to make room.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

from recorders.archive.account import Account
from recorders.archive.aside import Mover
from recorders.archive.crew import Crew
from recorders.archive.index import Index, Row
from recorders.archive.level import Level
from recorders.archive.taken import Taken
from recorders.archive.worker import Answer, Request
from recorders.naming import settle

WAITING, PACKED, VERIFIED, FAILED, GONE = "waiting", "packed", "verified", "failed", "gone"
COMMIT_EVERY_S = 0.25
COMMIT_ROWS = 64
RETRY_S = 1.0
PACKS = 2  # a picture that was wrong is packed once more
FOLDER_FILES = 10_000
SPARE_ROOM = "waiting"


class _File:
    """One file of the RAM disk."""

    __slots__ = (
        "answer", "counter", "missing", "needs_taking", "packs", "path", "request", "stage", "stamp", "taken", "target",
        "trusted",
    )  # fmt: skip

    def __init__(self, path: Path, counter: int, needs_taking: bool, stamp: tuple[int, int]) -> None:
        self.path, self.counter, self.needs_taking = path, counter, needs_taking
        self.stamp = stamp  # size and time when it was found
        self.taken = False
        self.stage = ""
        self.target: Path | None = None  # the name that is kept for its picture, until that is in the index
        self.trusted = True  # the picture that the index may have of it
        self.packs = self.missing = 0
        self.answer = Answer(ok=False)
        self.request = Request(do="pack")


class Keeper:
    """See the module. All methods but `taken` are for one thread."""

    def __init__(
        self,
        folder: Path,
        destination: Path,
        crew: Crew,
        index: Index,
        *,
        effort: int = 1,
        delete: bool = True,
        when_full: str = "move",
        mark: float = 0.8,
        complain: Callable[[str], None] = lambda text: None,
        level: Level | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._destination, self._crew, self._index = folder, destination, crew, index
        self._effort, self._delete, self._complain, self._clock = effort, delete, complain, clock
        same_disk = folder.stat().st_dev == destination.stat().st_dev
        self._moves = when_full == "move" and not same_disk and delete
        self._level = level or Level(folder, mark)
        self._files: dict[str, _File] = {}
        self._verified: list[_File] = []
        self._to_delete: list[_File] = []
        self._later: deque[tuple[float, _File]] = deque()
        self._committed_s = self._started_s = clock()
        self._complained_s: dict[str, float] = {}
        self._heard: deque[Path] = deque()
        self._mover, self._move_again_s = Mover(destination / SPARE_ROOM), float("-inf")
        self._stages: Counter[str] = Counter()
        self._targets: dict[Path, _File] = {}  # whose picture has that name, of those that are in hand
        self._account = Account()
        self._noted = Taken(destination)

    def __enter__(self) -> Keeper:
        self._mover.__enter__()
        for torn in self._destination.glob("[0-9]*/*.jxl.*.part"):  # of workers that died
            with contextlib.suppress(OSError):
                torn.unlink()
        self._adopt()
        return self

    def __exit__(self, *_: object) -> None:
        self._mover.__exit__()

    # ---- what happens to files

    def add(self, path: Path, counter: int = -1, needs_taking: bool = False) -> None:
        """A file is complete: archive it. `needs_taking`: keep it until `taken` has been said of it."""
        with contextlib.suppress(OSError):
            stat = path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            known = self._files.get(str(path))
            if known is not None and known.stamp == stamp:
                return
            self._account.files += 1
            file = self._files[str(path)] = _File(path, counter, needs_taking, stamp)
            self._pack(file)

    def offered(self, path: Path, counter: int) -> None:
        """A frame is being sent: archive its file meanwhile."""
        self.add(path, counter, needs_taking=True)

    def taken(self, path: Path) -> None:
        """The run has a file's frame (any thread)."""
        self._heard.append(path)

    def tick(self, timeout_s: float = 0.0) -> None:
        """Go on: take what workers have done, write the index, delete what may be deleted. Call it often."""
        results = self._crew.results(timeout_s)
        for moved in self._mover.results():
            self._after_moving(*moved)
        for file, request, answer in results:
            self._take(file, request, answer)
        self._hear()
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            self._again(self._later.popleft()[1])
        if self._verified and (len(self._verified) >= COMMIT_ROWS or now - self._committed_s >= COMMIT_EVERY_S):
            self.commit()
        self._delete_some()
        self._watch_level()

    def commit(self) -> None:
        """Write the lines of what was verified."""
        self._committed_s = self._clock()
        rows = [self._row(file) for file in self._verified if not file.answer.known]
        try:
            for folder in {(self._destination / row.jxl).parent for row in rows}:
                settle(folder)
            if rows:
                settle(self._destination)
            self._index.add(rows)
        except OSError as error:
            self._say("index", f"{self._index.path} could not be written: {error.strerror}. No original is deleted")
            return
        self._account.archived += len(self._verified)
        self._account.known += len(self._verified) - len(rows)
        self._account.bytes_raw += sum(row.bytes_raw for row in rows)
        self._account.bytes_jxl += sum(row.bytes_jxl for row in rows)
        self._to_delete += self._verified
        for file in self._verified:
            self._free_name(file)
        self._verified = []

    @property
    def busy(self) -> bool:
        """Whether anything is still to be archived."""
        return bool(not self._crew.idle or self._verified or self._later or not self._mover.idle)

    def drain(self, stopping: Callable[[], bool], progress: Callable[[Account], None] = lambda account: None) -> None:
        """Archive all that was found; returns early if told to."""
        while self.busy and not stopping():
            self.tick(0.1)
            progress(self.account)
        self.tick()
        self.commit()
        self._delete_some()

    @property
    def account(self) -> Account:
        """How it stands."""
        account = self._account
        account.to_pack, account.to_verify = self._stages[WAITING], self._stages[PACKED]
        account.to_take = sum(
            f.needs_taking and not f.taken for some in (self._verified, self._to_delete) for f in some
        )
        account.restarts = self._crew.restarts
        account.level, account.highest_level = self._level.fraction, self._level.highest
        account.seconds = self._clock() - self._started_s
        return account

    # ---- how

    def _now(self, file: _File, stage: str) -> None:
        self._stages[file.stage] -= 1
        self._stages[stage] += 1
        file.stage = stage
        self._account.largest_backlog = max(self._account.largest_backlog, self._stages[PACKED])

    def _pack(self, file: _File) -> None:
        self._now(file, WAITING)
        file.packs += 1
        target = self._target(file)
        if self._targets.setdefault(target, file) is not file:  # written anew meanwhile, or .tif beside .tiff: after it
            self._later.append((self._clock() + RETRY_S, file))
            return
        file.target = target
        rows = self._index.by_name.get(file.path.name, []) if file.trusted else []
        known = {row.checksum: str(self._destination / row.jxl) for row in rows}
        file.request = Request(
            do="pack", source=str(file.path), target=str(target), effort=self._effort, known=known
        )  # fmt: skip
        self._crew.submit(file, file.request)

    def _free_name(self, file: _File) -> None:
        """The next file whose picture would have the same name may be packed."""
        if file.target is not None:
            self._targets.pop(file.target, None)
            file.target = None

    def _verify(self, file: _File) -> None:
        self._now(file, PACKED)
        self._crew.submit(file, Request(do="verify", target=file.answer.target, checksum=file.answer.checksum))

    def _again(self, file: _File) -> None:
        if file.stage == PACKED:
            self._verify(file)
        else:
            file.packs -= 1
            self._pack(file)

    def _take(self, file: _File, request: Request, answer: Answer) -> None:
        """A worker has done one step."""
        name = file.path.name
        if answer.ok and request.do == "pack":
            file.answer = answer
            self._verify(file)
        elif answer.ok:
            self._now(file, VERIFIED)
            self._verified.append(file)
        elif request.do == "verify" and file.answer.known:
            self._complain(f"{name}: its picture in the archive is not good ({answer.why}); it is packed anew")
            file.trusted = False
            file.packs = 0
            self._pack(file)
        elif request.do == "verify" and answer.blame == "disk" and not Path(request.target).exists():
            file.packs = 0  # somebody took the picture away
            self._pack(file)
        elif answer.blame == "gone":
            file.missing += 0 if file.path.exists() else 1  # else we have moved it to the disk with more room
            if file.missing > 3:
                self._forget(file)
            else:
                self._later.append((self._clock() + RETRY_S, file))
        elif answer.blame == "disk":
            self._say("disk", f"{name}: {answer.why}. It stays where it is and is tried again")
            self._later.append((self._clock() + RETRY_S, file))
        elif answer.blame == "picture" and file.packs < PACKS:
            self._complain(f"{name}: the picture was wrong ({answer.why}); it is packed again")
            if self._in_archive(request.target) not in self._index.rows:
                with contextlib.suppress(OSError):
                    Path(request.target).unlink()
            self._pack(file)
        else:
            self._now(file, FAILED)
            self._free_name(file)
            self._account.failed += 1
            self._complain(f"{name} was not archived: {answer.why}. The file stays")

    def _hear(self) -> None:
        """Note what the run has taken, so that it is known after a crash too."""
        taken = []
        while self._heard:
            file = self._files.get(str(self._heard.popleft()))
            if file is not None and not file.taken:
                file.taken = True
                taken.append((file.stamp, file.path.name))
        if taken:
            self._noted.add(taken)

    def _delete_some(self) -> None:
        waiting = []
        for file in self._to_delete:
            if file.needs_taking and not file.taken:
                waiting.append(file)
            elif self._is_gone(file):
                self._forget(file)
            else:
                waiting.append(file)  # locked by another program: tried again
        self._to_delete = waiting

    def _forget(self, file: _File) -> None:
        """No longer ours to care for; another file of that name may be."""
        self._now(file, GONE)
        self._free_name(file)
        self._unlist(file)

    def _unlist(self, file: _File) -> None:
        if self._files.get(str(file.path)) is file:
            del self._files[str(file.path)]

    def _is_gone(self, file: _File) -> bool:
        """Delete a file that is archived, if it is still the one that was read. False: it has to be tried again."""
        if not self._delete:
            return True
        try:
            stat = file.path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            if stamp != (file.answer.size, file.answer.mtime_ns) or (file.needs_taking and stamp != file.stamp):
                return True  # written anew meanwhile: another frame
            file.path.unlink()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        self._account.deleted += 1
        return True

    def _watch_level(self) -> None:
        self._level.look()
        above = self._level.above
        self._crew.verify_first(above > 0)
        then = (
            f"Files are moved to {self._destination / SPARE_ROOM} then, and archived from there."
            if self._moves
            else "Nothing is deleted to make room: a lower effort, more workers, or a slower camera help."
        )
        if text := self._level.warning(then):
            self._complain(text)
        if self._level.soon_above and self._moves and self._mover.idle and self._clock() >= self._move_again_s:
            room = above + self._level.total // 50
            free = [file for file in self._files.values() if file.taken or not file.needs_taking]
            movable = [f for f in free if f.stage in (PACKED, WAITING) and f.path.parent == self._folder]
            for file in sorted(movable, key=lambda f: f.stage != PACKED):
                if room <= 0:
                    break
                room -= file.stamp[0]
                self._mover.move(file, file.path)

    def _after_moving(self, file: _File, target: Path | None, why: str) -> None:
        if target is None:
            if file.path.exists():
                self._say("move", f"{file.path.name} could not be moved aside: {why}")
            self._move_again_s = self._clock() + RETRY_S
            return
        self._account.moved += 1
        if file.stage == GONE:  # archived while it was moved, and found to be away from where it was
            self.add(target, file.counter)
            return
        self._unlist(file)
        file.path, file.needs_taking = target, False
        file.request.source = str(target)
        self._files[str(target)] = file

    def _adopt(self) -> None:
        """What an archiver before this one left: files that were moved aside, and those that a run has taken."""
        for path in self._mover.left_there():
            self.add(path, _number(path.name))
        for path in self._noted.left_in(self._folder):
            self.add(path, _number(path.name))

    def _target(self, file: _File) -> Path:
        start = max(0, file.counter) // FOLDER_FILES * FOLDER_FILES
        return self._destination / f"{start:09d}" / f"{file.path.stem}.jxl"

    def _in_archive(self, picture: str) -> str:
        """A picture's name in the index."""
        return Path(picture).relative_to(self._destination).as_posix()

    def _row(self, file: _File) -> Row:
        answer = file.answer
        return Row(
            file_name=file.path.name, counter=file.counter, checksum=answer.checksum,
            jxl=self._in_archive(answer.target), width=answer.width,
            height=answer.height, dtype=answer.dtype, bytes_raw=answer.bytes_raw, bytes_jxl=answer.bytes_jxl,
            effort=answer.effort, time_utc_ns=answer.mtime_ns,
        )  # fmt: skip

    def _say(self, kind: str, text: str) -> None:
        """Complain, but not of each file of a thousand."""
        now = self._clock()
        if now - self._complained_s.get(kind, float("-inf")) > 10.0:
            self._complained_s[kind] = now
            self._complain(text)


def _number(name: str) -> int:
    found = re.findall(r"\d+", name.rsplit(".", 1)[0])
    return int(found[-1]) if found and int(found[-1]) < 1 << 63 else -1
