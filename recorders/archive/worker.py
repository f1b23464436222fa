"""A worker of the archive: a process below normal priority that packs, verifies and packs anew.

`python -P -m recorders.archive.worker` reads requests from standard input and writes answers to standard output, one
line of JSON each. It ends when its standard input does (its parent is gone), and never deletes an original.

A picture is written beside its name, brought to the disk (`fsync`) and renamed: what has the name is whole.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from recorders.archive import jxl

if TYPE_CHECKING:
    from recorders.archive.quick import Decoder


class Request(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is to be done."""

    do: str  # "pack", "verify", "repack"
    source: str = ""  # the TIFF to pack
    target: str = ""  # the picture
    effort: int = 1
    checksum: str = ""  # verify, repack: what the pixels have to be
    known: dict[str, str] = {}  # pack: pictures that the archive has of a file of that name, by checksum


class Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What became of it."""

    ok: bool
    why: str = ""
    blame: str = ""  # "file": it is no frame; "gone": it is not there; "picture": that is wrong; "disk": all else
    target: str = ""  # where it was written: another name, if that one was taken by other pixels
    known: bool = False  # it was in the archive already
    checksum: str = ""
    width: int = 0
    height: int = 0
    dtype: str = ""
    bytes_raw: int = 0
    bytes_jxl: int = 0
    effort: int = 0
    size: int = 0  # of the original file, when its pixels were read
    mtime_ns: int = 0
    seconds: float = 0.0


def do(request: Request) -> Answer:
    """Do one request; every failure is an answer."""
    started = time.perf_counter()
    try:
        answer = _DO[request.do](request)
    except jxl.NoFrameError as error:
        answer = Answer(ok=False, blame="file" if request.do == "pack" else "picture", why=str(error))
    except OSError as error:
        gone = isinstance(error, FileNotFoundError) and error.filename in (request.source, Path(request.source))
        answer = Answer(
            ok=False,
            blame="gone" if gone else "disk",
            why=f"{error.strerror or error} ({error.filename or request.target})",
        )
    answer.seconds = time.perf_counter() - started
    return answer


def _pack(request: Request) -> Answer:
    source, target = Path(request.source), Path(request.target)
    before = source.stat()
    image, tags = jxl.read_tiff(source)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise jxl.NoFrameError("it changed while it was read")
    found = jxl.checksum(image)
    answer = Answer(
        ok=True, checksum=found, width=image.shape[1], height=image.shape[0], dtype=image.dtype.name,
        bytes_raw=image.nbytes, effort=request.effort, size=after.st_size, mtime_ns=after.st_mtime_ns,
    )  # fmt: skip
    if found in request.known:
        answer.known, answer.target = True, request.known[found]
        return answer
    about = {
        "file_name": source.name, "time_utc_ns": after.st_mtime_ns, "checksum": found, "effort": request.effort,
        "tiff": tags,
    }  # fmt: skip
    data = jxl.packed(image, about, request.effort)
    target = _free(target, source.name, found)
    _write(target, data, after.st_mtime_ns)
    answer.target, answer.bytes_jxl = str(target), len(data)
    return answer


def _verify(request: Request) -> Answer:
    """Read the picture back from the disk, and compare its pixels with those that the original had."""
    data = Path(request.target).read_bytes()
    if jxl.checksum(_decoder().unpacked(data)) != request.checksum:
        raise jxl.NoFrameError("its pixels are not the original's")
    return Answer(ok=True, checksum=request.checksum, target=request.target, bytes_jxl=len(data))


@cache
def _decoder() -> Decoder:
    """The process's own; it is compiled when it is wanted."""
    from recorders.archive.quick import Decoder

    return Decoder()


def _repack(request: Request) -> Answer:
    """Pack a picture anew, and put it in its place only if it decodes to the same pixels."""
    target = Path(request.target)
    data = target.read_bytes()
    image, about = jxl.unpacked(data), jxl.about(data)
    if jxl.checksum(image) != request.checksum:
        raise jxl.NoFrameError("its pixels are not those that were archived")
    smaller = jxl.packed(image, about | {"effort": request.effort}, request.effort)
    if jxl.checksum(jxl.unpacked(smaller)) != request.checksum:
        raise jxl.NoFrameError("the codec changed its pixels")
    _write(target, smaller, target.stat().st_mtime_ns)
    return Answer(ok=True, checksum=request.checksum, target=request.target, bytes_jxl=len(smaller))


_DO = {"pack": _pack, "verify": _verify, "repack": _repack}


def _free(target: Path, name: str, found: str) -> Path:
    """A name that is free, or that of a picture of the same file (of an archiver that died before it wrote its line).

    A picture of the same pixels, but of a file `name` is not of, is another's: each file has one of its own.
    """
    stem, number = target.stem, 1
    while target.exists():
        with contextlib.suppress(jxl.NoFrameError, OSError, ValueError):
            data = target.read_bytes()
            if jxl.about(data).get("file_name") == name and jxl.checksum(jxl.unpacked(data)) == found:
                return target
        number += 1
        target = target.with_name(f"{stem}.{number}{target.suffix}")
    return target


def _write(target: Path, data: bytes, mtime_ns: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.utime(beside, ns=(mtime_ns, mtime_ns))
        beside.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _step_back() -> None:
    """Below normal priority: the camera software and the sender come first."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        below_normal: int = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", 10)  # the class is Windows' own
        psutil.Process().nice(below_normal)


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is the parent's business
    _step_back()
    decode: Any = msgspec.json.Decoder(Request).decode
    out = sys.stdout.buffer
    for text in sys.stdin.buffer:
        answer = do(decode(text))
        try:
            out.write(msgspec.json.encode(answer) + b"\n")
            out.flush()
        except OSError:  # the parent is gone
            os._exit(0)


if __name__ == "__main__":
    main()
