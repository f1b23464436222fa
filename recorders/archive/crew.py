"""The crew: worker processes under one parent, each driven by a thread. One that dies is replaced, its work redone.

Work has a rank: packing before verifying, unless room on the RAM disk is short: then verifying, which frees it.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from typing import Any

import msgspec

from recorders.archive.worker import Answer, Request

TRIES = 3
KEEPS_MEMORY = {f"MALLOC_{name}_": str(1 << 30) for name in ("MMAP_THRESHOLD", "TRIM_THRESHOLD")}
"""Told to glibc (others pass it over): a worker's frames lie where the last ones did. New pages cost 4 ms a frame."""


class Crew:
    """A context manager. `submit` and `results` are for one thread."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changed = threading.Condition()
        self._work: list[tuple[int, int, Any, Request]] = []
        self._order = itertools.count()
        self._results: deque[tuple[Any, Request, Answer]] = deque()
        self._verify_first = False
        self._in_hand = 0
        self._stopping = False
        self.restarts = 0
        self.pids: dict[int, int] = {}  # of each worker

    def __enter__(self) -> Crew:
        self._threads = [
            threading.Thread(target=self._drive, args=(i,), name=f"archive-{i}", daemon=True)
            for i in range(self._workers)
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """What is in hand is finished, what waits is not begun."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(self, token: Any, request: Request) -> None:
        """Have something done; `results` gives it back with its token."""
        with self._changed:
            heapq.heappush(self._work, (self._rank(request), next(self._order), token, request))
            self._changed.notify()

    def results(self, timeout_s: float = 0.0) -> list[tuple[Any, Request, Answer]]:
        """What is done since the last call; waits for something at most so long."""
        with self._changed:
            if not self._results and timeout_s > 0:
                self._changed.wait(timeout_s)
            out = list(self._results)
            self._results.clear()
        return out

    def verify_first(self, yes: bool) -> None:
        """Turn the order round."""
        with self._changed:
            if yes != self._verify_first:
                self._verify_first = yes
                self._work = [(self._rank(entry[3]), *entry[1:]) for entry in self._work]
                heapq.heapify(self._work)

    @property
    def idle(self) -> bool:
        """Nothing waits, nothing is in hand, all results were fetched."""
        with self._changed:
            return not self._work and not self._in_hand and not self._results

    def _rank(self, request: Request) -> int:
        return int((request.do == "pack") == self._verify_first)

    def _drive(self, number: int) -> None:
        """One thread: a process, and one request at a time."""
        process: subprocess.Popen[bytes] | None = None
        decode = msgspec.json.Decoder(Answer).decode
        while True:
            with self._changed:
                while not self._work and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    break
                _, _, token, request = heapq.heappop(self._work)
                self._in_hand += 1
            answer = None
            for _ in range(TRIES):
                if process is None:
                    try:
                        process = _started()
                    except OSError as error:  # no memory, no more processes: later perhaps
                        answer = Answer(ok=False, blame="disk", why=f"no worker could be started: {error.strerror}")
                        break
                    self.pids[number] = process.pid
                answer = _ask(process, request, decode)
                if answer is not None:
                    break
                _end(process)
                process = None
                # Where the codec itself died of a frame, another effort is another code.
                request = msgspec.structs.replace(request, effort=max(2, request.effort))
                with self._changed:
                    self.restarts += 1
            if answer is None:
                answer = Answer(ok=False, blame="file", why=f"{TRIES} workers died of it")
            with self._changed:
                self._in_hand -= 1
                self._results.append((token, request, answer))
                self._changed.notify_all()
        if process is not None:
            _end(process)


def _started() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "recorders.archive.worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | KEEPS_MEMORY)


def _ask(process: subprocess.Popen[bytes], request: Request, decode: Any) -> Answer | None:
    """Its answer; None if it died."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        process.stdin.flush()
        text = process.stdout.readline()
        answer: Answer | None = decode(text) if text.endswith(b"\n") else None
    except (OSError, msgspec.DecodeError):
        return None
    return answer


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    process.wait()
    process.stdout.close()
