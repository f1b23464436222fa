"""The warm template of a run's processes: `python -P -m engine.template`, started by the supervisor alone.

It loads once what every process of the run needs (numpy, numba, the kernels of this experiment) and then makes each
process by forking itself: 20 ms instead of an interpreter's start, imports and kernels (1.3 s of CPU each).

What may be inherited by a fork is little, and here it is nothing: the template has one thread, and no file, segment,
lock or socket is open in it but the one that it is spoken to through. A process of the run opens its own.

On that socket (standard input; SOCK_SEQPACKET, a JSON object a packet):

    supervisor                                            template
    {"load": "the experiment as TOML"}                    {"loaded": true}, or its death with the reason on stderr
    {"start": [target, name, plan]} + [stdin, stderr]     {"started": pid}

The new process is forked twice, so that it is no child of the template: the system gives it to the supervisor, which is
its "subreaper" (prctl(2)), and reaps it like any child. The template ends when its supervisor does.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import engine.child
from engine.experiment import Experiment
from engine.workers.compile import warm

PACKET_BYTES = 1 << 17
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_NAME_BYTES = 15


def main() -> None:
    """Load, then start what is asked for, until the supervisor closes the socket."""
    _prctl(_PR_SET_NAME, b"template\0")
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # in the middle of a compilation too
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the supervisor's to handle
    with socket.socket(fileno=os.dup(0)) as supervisor:
        while True:
            packet, descriptors, _, _ = socket.recv_fds(supervisor, PACKET_BYTES, 2)
            if not packet:
                return
            asked = json.loads(packet)
            if "load" in asked:
                warm(Experiment.loads(asked["load"]))
                gc.collect()
                gc.freeze()  # what is there now is never looked at again, so its pages stay shared
                answer: dict[str, object] = {"loaded": True}
            else:
                answer = {"started": _start(asked["start"], descriptors, supervisor)}
                for descriptor in descriptors:
                    os.close(descriptor)
            supervisor.send(json.dumps(answer).encode())


def _start(command: Sequence[str], descriptors: Sequence[int], supervisor: socket.socket) -> int:
    """Fork twice; the number of the second process."""
    read_end, write_end = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            os.close(write_end)
            supervisor.close()
            _become(command, *descriptors)
        os.write(write_end, str(pid).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        pid = int(pipe.read())
    os.waitpid(between, 0)
    return pid


def _become(command: Sequence[str], stdin: int, stderr: int) -> NoReturn:
    """Be the process that `python -P -m engine.child` would be, to its end."""
    status = 1
    try:
        os.setsid()  # Ctrl-C in the terminal is for the supervisor
        os.dup2(stdin, 0)
        os.dup2(stderr, 2)
        os.close(stdin)
        os.close(stderr)
        _prctl(_PR_SET_NAME, command[1].encode()[:_NAME_BYTES] + b"\0")  # what ps and top show
        sys.argv = [engine.child.__file__, *command]
        status = engine.child.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        # Everything is closed by its own block by now; taking a whole interpreter apart would cost half a second.
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(status)


def _prctl(what: int, value: int | bytes) -> None:
    ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


if __name__ == "__main__":
    main()
