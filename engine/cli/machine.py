"""What `ringtrack doctor` looks at, one small examination each."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.cli.doctor import Finding
from engine.cli.output import size
from engine.cores import existing_cores
from engine.shm.segment import PREFIX

NEEDED = ("numpy", "numba", "pyzmq", "msgspec", "h5py", "tifffile", "watchdog", "psutil", "click")
OPTIONAL = {"hdf5plugin": "images", "pylsl": "lsl", "imagecodecs": "archive", "tornado": "web", "trackpy": "analysis"}
PROBE_BYTES = 64 << 20


def examine(data: Path) -> list[Finding]:
    """All findings. `data`: the folder of the runs, which need not exist."""
    return [
        finding
        for look in (_system, _packages, _cores, _memory, _limits, _priority, _clock, lambda: _disk(data), _lsl)
        for finding in look()
    ]


def _system() -> Iterator[Finding]:
    here = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64"):
        yield Finding("system", "good", f"{here}, {' '.join(platform.libc_ver()) or 'unknown libc'}")
    else:
        yield Finding(
            "system", "bad", here, "the engine needs Linux on x86-64; `ringtrack send` and `archive` run here"
        )
    yield Finding("python", "good", f"{platform.python_version()} ({sys.executable})")


def _packages() -> Iterator[Finding]:
    found, missing = [], []
    for name in ("ringtrack", *NEEDED):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    yield Finding("packages", "good" if not missing else "bad", ", ".join(found), f"missing: {', '.join(missing)}")
    absent = []
    for name in OPTIONAL:
        try:
            version(name)
        except PackageNotFoundError:
            absent.append(name)
    if absent:
        extras = ",".join(sorted({OPTIONAL[name] for name in absent}))
        yield Finding("optional packages", "good", f"not here: {', '.join(absent)} (pip install 'ringtrack[{extras}]')")


def _cores() -> Iterator[Finding]:
    import psutil

    usable, physical = len(existing_cores()), psutil.cpu_count(logical=False)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    fact = f"{usable} usable ({physical} physical), load {load:.1f}"
    if usable < 2:
        yield Finding("cores", "poor", fact, "receiver, trackers and recorder share one core")
    elif load > usable / 2:
        yield Finding("cores", "poor", fact, "others are using this machine: frames will wait")
    else:
        yield Finding("cores", "good", fact)


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    yield Finding("memory", "good", f"{size(memory.available)} free of {size(memory.total)}")
    shm = Path("/dev/shm")
    if not shm.is_dir():
        yield Finding("/dev/shm", "bad", "is not there", "mount it: mount -t tmpfs tmpfs /dev/shm")
        return
    room = shutil.disk_usage(shm)
    fact = f"{size(room.free)} free of {size(room.total)}"
    if room.free < 256 << 20:
        remedy = "too small for a ring; enlarge it: mount -o remount,size=8G /dev/shm (in a container: --shm-size=8g)"
        yield Finding("/dev/shm", "bad", fact, remedy)
    else:
        yield Finding("/dev/shm", "good", fact)
    stale = [path.name for path in shm.iterdir() if path.name.startswith(PREFIX)]
    if stale:
        yield Finding("segments", "good", f"{len(stale)} in /dev/shm, of a run that lives or that the next one sweeps")


def _limits() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:
        return
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield Finding("open files", "good" if soft >= 256 else "poor", f"at most {soft}", "raise it: ulimit -n 1024")


def _priority() -> Iterator[Finding]:
    try:
        import resource

        lowest = 20 - resource.getrlimit(resource.RLIMIT_NICE)[0]  # type: ignore[attr-defined,unused-ignore]  # Linux alone has it
    except (ImportError, AttributeError):
        return
    if os.geteuid() == 0 or lowest <= -10:
        yield Finding("priority", "good", "the receiver may run at nice -10")
    else:
        yield Finding(
            "priority",
            "poor",
            "the receiver runs as everybody else",
            f"under load frames wait about 1 ms longer; allow it: echo '{_user()} - nice -10' | sudo tee -a "
            "/etc/security/limits.conf, then log in again",
        )


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _clock() -> Iterator[Finding]:
    info = time.get_clock_info("monotonic")
    steps = []
    for _ in range(200):
        start = time.monotonic_ns()
        while (now := time.monotonic_ns()) == start:
            pass
        steps.append(now - start)
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    name = source.read_text().strip() if source.exists() else info.implementation
    slow = name in ("acpi_pm", "hpet", "jiffies")
    fact = f"{name}, steps of {sorted(steps)[len(steps) // 2]} ns"
    yield Finding("clock", "poor" if slow else "good", fact, "reading this clock is slow; boot with clocksource=tsc")


def _disk(data: Path) -> Iterator[Finding]:
    """Free room, and how fast 64 MiB get to the disk: a quick look, the first seconds of a disk are its best."""
    folder = data.absolute()
    there = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free = shutil.disk_usage(there).free
    probe = there / f".ringtrack-probe-{os.getpid()}"
    block = os.urandom(1 << 20)
    try:
        start = time.monotonic()
        with probe.open("xb", buffering=0) as file:
            for _ in range(PROBE_BYTES // len(block)):
                file.write(block)
            os.fsync(file.fileno())
        speed = PROBE_BYTES / (time.monotonic() - start)
    except OSError as error:
        yield Finding("disk", "bad", f"{there} cannot be written: {error.strerror}", "choose another experiment.data")
        return
    finally:
        probe.unlink(missing_ok=True)
    fact = f"{size(free)} free in {there}, {speed / 1e6:.0f} MB/s at first"
    yield Finding("disk", "good" if free > 10 << 30 else "poor", fact, "less than 10 GiB free")


def _lsl() -> Iterator[Finding]:
    """The streaming layer brings a C library that needs a recent libc; loading it is the only true test."""
    from importlib.util import find_spec

    if find_spec("pylsl") is None:
        return
    import subprocess

    code = "import pylsl; print(pylsl.library_version())"  # in a process of its own: it may start threads
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode == 0:
        yield Finding("LSL", "good", f"liblsl {done.stdout.strip()}")
    else:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("LSL", "poor", last[:120], "name another liblsl in PYLSL_LIB, if you want lsl.enabled")
