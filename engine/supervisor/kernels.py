"""Compiled kernels: the template makes them at the first run and finds them at the next; everybody else is its fork.

The cache folder is named by a hash of our sources, of numba's version and of the processor, so that code of another
version is never run: numba itself looks only at the file of the kernel, not at what the kernel calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import engine
from engine.experiment import Experiment

KEPT_DAYS = 60


def cache_folder() -> Path:
    """Where this version's kernels for this processor lie; made if missing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ringtrack" / "kernels"
    folder = base / _fingerprint()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()  # when it was used last
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    fallback = Path(tempfile.gettempdir()) / f"ringtrack-{os.getuid()}-kernels" / _fingerprint()
    fallback.mkdir(mode=0o700, parents=True, exist_ok=True)
    return fallback


def child_environment() -> dict[str, str]:
    """The environment of every process of a run: the cache, and one thread each for what likes to take all cores."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return os.environ | dict.fromkeys(threads, "1") | {"NUMBA_CACHE_DIR": str(cache_folder())}


def are_compiled(experiment: Experiment) -> bool:
    """Whether the kernels that this experiment needs were compiled before."""
    return _stamp(experiment).exists()


def remember_compiled(experiment: Experiment) -> None:
    """Nothing has to be said of compiling the next time."""
    with contextlib.suppress(OSError):
        _stamp(experiment).touch()


def sweep_old(base: Path | None = None, now: float | None = None) -> None:
    """Delete the kernels of other versions that nobody has used for `KEPT_DAYS`."""
    own = cache_folder()
    base = base or own.parent
    oldest = (time.time() if now is None else now) - KEPT_DAYS * 86400
    for folder in base.iterdir():
        with contextlib.suppress(OSError):
            if folder != own and folder.is_dir() and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)


def forget() -> None:
    """Delete this version's kernels; the next run compiles them anew."""
    shutil.rmtree(cache_folder(), ignore_errors=True)


def _stamp(experiment: Experiment) -> Path:
    camera, tracking = experiment.camera, experiment.tracking
    return cache_folder() / f"compiled-{camera.dtype}-{tracking.precision}"


def _fingerprint() -> str:
    digest = hashlib.blake2b(digest_size=8)
    root = Path(engine.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.parent.name in ("shm", "workers"):
            # numba's own index is keyed by path and time of the file; a copy elsewhere is compiled anew.
            digest.update(f"{path} {path.stat().st_mtime_ns}".encode() + b"\0" + path.read_bytes())
    digest.update(f"{version('numba')} {version('numpy')} {sys.version}".encode())
    with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        digest.update("".join(sorted({line for line in file if line.startswith(("model name", "flags"))})).encode())
    return digest.hexdigest()
