"""The keeper of a RAM disk: every file becomes a verified picture, and only then, and only if it may be, is deleted.

The life of a file, each step safe before the next one begins:

1. *waiting*: a worker reads it, packs it, brings the picture to the disk under its name
2. *packed*: a worker reads the picture back, decodes it, and compares its pixels' checksum with the original's
3. *verified*: its line is in `archive.csv`, and on the disk
4. deleted, if it is still the file that was read, and, where frames are also sent, if the run has taken it

A crash between any two steps leaves the original, and the step is done again. `taken.csv` remembers which files a run
has taken but nobody has archived yet; a sender that starts again would not send those once more.

When the RAM disk rises above its mark, pictures are verified before others are packed, since that alone makes room;
what does not go fast enough is moved to `DEST/waiting` ("move"), a disk with more room, and archived from there; or
nothing is done but warned of ("wait"). Nothing is ever deleted to make room.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from recorders.archive.crew import Crew
from recorders.archive.index import Index, Row
from recorders.archive.level import Level
from recorders.archive.worker import Answer, Request

WAITING, PACKED, VERIFIED, FAILED = "waiting", "packed", "verified", "failed"
COMMIT_EVERY_S = 0.25
COMMIT_ROWS = 64
RETRY_S = 1.0
PACKS = 2  # a picture that was wrong is packed once more
FOLDER_FILES = 10_000
SPARE_ROOM = "waiting"
TAKEN = "taken.csv"


class Account(msgspec.Struct, kw_only=True):
    """What the keeper has come to."""

    files: int = 0
    archived: int = 0  # verified, and in the index
    known: int = 0  # of those, found in the archive already
    deleted: int = 0
    failed: int = 0  # no frame, or not to be archived: the file stays
    moved: int = 0  # to the disk with more room
    to_pack: int = 0
    to_verify: int = 0
    to_take: int = 0  # archived, but not taken by the run yet
    largest_backlog: int = 0  # of files that were to be verified
    bytes_raw: int = 0
    bytes_jxl: int = 0
    restarts: int = 0  # of workers
    level: float = 0.0  # of the RAM disk
    highest_level: float = 0.0
    seconds: float = 0.0

    def line(self) -> str:
        """One line for people, while it goes on."""
        return (
            f"archived {self.archived}  to pack {self.to_pack}  to verify {self.to_verify}  "
            + (f"to be taken {self.to_take}  " if self.to_take else "")
            + f"disk {self.level:.0%}"
        )

    def lines(self) -> list[str]:
        """The account at the end."""
        rate = self.archived / self.seconds if self.seconds else 0.0
        ratio = self.bytes_raw / self.bytes_jxl if self.bytes_jxl else 0.0
        out = [f"{self.files} files", f"  archived   {self.archived}  ({rate:.1f} a second, ratio {ratio:.2f})"]
        optional = {
            "known": (self.known, "(in the archive already)"),
            "moved": (self.moved, "(aside, the RAM disk was above its mark)"),
            "failed": (self.failed, "(they stay where they are)"),
            "left": (self.to_pack + self.to_verify, "(not archived yet: they stay, and are next time)"),
            "not taken": (self.to_take, "(archived, but no run has taken them: they stay)"),
            "restarts": (self.restarts, "(of workers)"),
        }
        out.append(f"  deleted    {self.deleted}")
        out += [f"  {name:<10} {count}  {what}" for name, (count, what) in optional.items() if count]
        out.append(
            f"  backlog    {self.largest_backlog} at most, to be verified; disk at most {self.highest_level:.0%} full"
        )
        return out


class _File:
    """One file of the RAM disk."""

    __slots__ = ("answer", "counter", "missing", "needs_taking", "packs", "path", "request", "stage", "stamp", "taken")

    def __init__(self, path: Path, counter: int, needs_taking: bool, stamp: tuple[int, int]) -> None:
        self.path, self.counter, self.needs_taking = path, counter, needs_taking
        self.stamp = stamp  # size and time when it was found
        self.taken = False
        self.stage = WAITING
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
        self._mover = threading.Thread(target=self._move, name="archive-mover", daemon=True)
        self._to_move: deque[tuple[_File, Path]] = deque()
        self._moved: deque[tuple[_File, Path | None, str]] = deque()
        self._moving = threading.Event()
        self._closing = False
        self._account = Account()
        self._journal = destination / TAKEN

    def __enter__(self) -> Keeper:
        self._mover.start()
        for part in self._destination.glob("*/*.part"):  # of workers that died
            with contextlib.suppress(OSError):
                part.unlink()
        self._adopt()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._moving.set()
        self._mover.join()

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
        while self._moved:
            self._after_moving(*self._moved.popleft())
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
            self._index.add(rows)
        except OSError as error:
            self._say("index", f"{self._index.path} could not be written: {error.strerror}. No original is deleted")
            return
        self._account.archived += len(self._verified)
        self._account.known += len(self._verified) - len(rows)
        self._account.bytes_raw += sum(row.bytes_raw for row in rows)
        self._account.bytes_jxl += sum(row.bytes_jxl for row in rows)
        self._to_delete += self._verified
        self._verified = []

    @property
    def busy(self) -> bool:
        """Whether anything is still to be archived."""
        return bool(not self._crew.idle or self._verified or self._later or self._to_move or self._moved)

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
        stages = [file.stage for file in self._files.values()]
        account = self._account
        account.to_pack, account.to_verify = stages.count(WAITING), stages.count(PACKED)
        account.to_take = sum(f.stage == VERIFIED and f.needs_taking and not f.taken for f in self._files.values())
        account.largest_backlog = max(account.largest_backlog, account.to_verify)
        account.restarts = self._crew.restarts
        account.level, account.highest_level = self._level.fraction, self._level.highest
        account.seconds = self._clock() - self._started_s
        return account

    # ---- how

    def _pack(self, file: _File) -> None:
        file.stage = WAITING
        file.packs += 1
        known = {row.checksum: row.jxl for row in self._index.by_name.get(file.path.name, [])}
        file.request = Request(
            do="pack", source=str(file.path), target=str(self._target(file)), effort=self._effort, known=known
        )
        self._crew.submit(file, file.request)

    def _verify(self, file: _File) -> None:
        file.stage = PACKED
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
            if answer.known:
                file.stage = VERIFIED
                self._verified.append(file)
            else:
                self._verify(file)
        elif answer.ok:
            file.stage = VERIFIED
            self._verified.append(file)
        elif answer.blame == "disk":
            if request.do == "pack" and not file.path.exists():
                file.missing += 1
                if file.missing > 3:  # somebody took it away, and not we to the disk with more room
                    self._forget(file)
                    return
                self._later.append((self._clock() + RETRY_S, file))
                return
            self._say("disk", f"{name}: {answer.why}. It stays where it is and is tried again")
            self._later.append((self._clock() + RETRY_S, file))
        elif answer.blame == "picture" and file.packs < PACKS:
            self._complain(f"{name}: the picture was wrong ({answer.why}); it is packed again")
            with contextlib.suppress(OSError):
                Path(request.target).unlink()
            self._pack(file)
        else:
            file.stage = FAILED
            self._account.failed += 1
            self._complain(f"{name} was not archived: {answer.why}. The file stays")

    def _hear(self) -> None:
        """Note what the run has taken, so that it is known after a crash too."""
        lines = []
        while self._heard:
            file = self._files.get(str(self._heard.popleft()))
            if file is not None and not file.taken:
                file.taken = True
                lines.append(f"{file.stamp[0]},{file.stamp[1]},{file.path.name}\n")
        if lines:
            with contextlib.suppress(OSError), self._journal.open("a", encoding="utf-8") as journal:
                journal.write("".join(lines))

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
        if above and self._moves and not self._to_move and not self._moved:
            room = above + self._level.total // 50
            free = [file for file in self._files.values() if file.taken or not file.needs_taking]
            movable = [f for f in free if f.stage in (PACKED, WAITING) and f.path.parent == self._folder]
            for file in sorted(movable, key=lambda f: f.stage != PACKED):
                if room <= 0:
                    break
                room -= file.stamp[0]
                self._to_move.append((file, file.path))
            self._moving.set()

    def _move(self) -> None:
        """The mover's thread: copy, bring to the disk, then delete."""
        while not self._closing:
            self._moving.wait()
            self._moving.clear()
            while self._to_move and not self._closing:
                file, path = self._to_move[0]
                try:
                    target, why = _moved_aside(path, self._destination / SPARE_ROOM), ""
                except OSError as error:
                    target, why = None, error.strerror or str(error)
                self._moved.append((file, target, why))
                self._to_move.popleft()

    def _after_moving(self, file: _File, target: Path | None, why: str) -> None:
        if target is None:
            if file.path.exists():
                self._say("move", f"{file.path.name} could not be moved aside: {why}")
            return
        self._account.moved += 1
        self._forget(file)
        file.path, file.needs_taking = target, False
        file.request.source = str(target)
        self._files[str(target)] = file

    def _adopt(self) -> None:
        """What an archiver before this one left: files that were moved aside, and those that a run has taken."""
        for path in sorted((self._destination / SPARE_ROOM).glob("*/*")):
            if path.suffix != ".part":
                self.add(path, _number(path.name))
        left = {}
        with contextlib.suppress(OSError):
            for text in self._journal.read_text(encoding="utf-8").splitlines():
                size, _, rest = text.partition(",")
                mtime, _, name = rest.partition(",")
                left[name] = (size, mtime)
        lines = []
        for name, (size, mtime) in left.items():
            with contextlib.suppress(OSError):
                stat = (self._folder / name).stat()
                if (str(stat.st_size), str(stat.st_mtime_ns)) == (size, mtime):
                    lines.append(f"{size},{mtime},{name}\n")
                    self.add(self._folder / name, _number(name))
        with contextlib.suppress(OSError):
            if lines or self._journal.exists():
                self._journal.write_text("".join(lines), encoding="utf-8")

    def _target(self, file: _File) -> Path:
        start = max(0, file.counter) // FOLDER_FILES * FOLDER_FILES
        return self._destination / f"{start:09d}" / f"{file.path.stem}.jxl"

    def _row(self, file: _File) -> Row:
        answer = file.answer
        return Row(
            file_name=file.path.name, counter=file.counter, checksum=answer.checksum,
            jxl=Path(answer.target).relative_to(self._destination).as_posix(), width=answer.width,
            height=answer.height, dtype=answer.dtype, bytes_raw=answer.bytes_raw, bytes_jxl=answer.bytes_jxl,
            effort=answer.effort, time_utc_ns=answer.mtime_ns,
        )  # fmt: skip

    def _say(self, kind: str, text: str) -> None:
        """Complain, but not of each file of a thousand."""
        now = self._clock()
        if now - self._complained_s.get(kind, float("-inf")) > 10.0:
            self._complained_s[kind] = now
            self._complain(text)


def _moved_aside(path: Path, room: Path) -> Path:
    """Move a file to a disk with more room; it is whole there before it is gone here. Raises OSError."""
    number = 0
    while (target := room / str(number) / path.name).exists():
        number += 1
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(target.name + ".part")
    stat = path.stat()
    try:
        shutil.copyfile(path, beside)
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.utime(beside, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) != (stat.st_size, stat.st_mtime_ns) or beside.stat().st_size != stat.st_size:
            raise OSError(None, "it changed while it was copied")
        beside.replace(target)
        try:
            path.unlink()
        except OSError:
            target.unlink()
            raise
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return target


def _number(name: str) -> int:
    found = re.findall(r"\d+", name.rsplit(".", 1)[0])
    return int(found[-1]) if found else -1
