"""How an HDF5 file that others read while it is written begins, and how its writer ends when the disk fails.

    file, making = create(path)                     under a name beside
    …                                               make all its datasets: none can be added afterwards
    held = open_to_readers(file, making, path)      single writer, multiple readers (SWMR); it has its name

A write that failed leaves HDF5 in a state in which closing the file crashes the process (HDF5 2.0: segmentation
fault), and the interpreter closes what is open: such a process ends by `leave`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import h5py

from engine.errors import MachineError
from engine.process import Job
from recorders import h5clear
from recorders.naming import give_name, start


def create(path: Path) -> tuple[h5py.File, Path]:
    """A new file, and the name that it has until it is given the real one. Raises FileExistsError, MachineError."""
    try:
        making = start(path)
        return h5py.File(making, "x", libver=("v110", "v110")), making
    except FileExistsError:
        raise
    except OSError as error:
        raise cannot_be_written(path.parent, error) from None


def cannot_be_written(folder: Path, error: OSError) -> MachineError:
    """The error that says so of the folder of a run."""
    said = os.strerror(error.errno) if error.errno else str(error)
    return MachineError(f"{folder} cannot be written: {said}. Set experiment.data to another folder.")


def open_to_readers(file: h5py.File, making: Path, path: Path) -> int:
    """From now on others can read it, under its name. The descriptor that says that its writer lives: close it last."""
    file.swmr_mode = True
    held = h5clear.hold(making)  # before it has a name under which its mark could be taken away
    file.flush()
    give_name(making, path)
    return held


def why(error: BaseException) -> str:
    """What the operating system said, of all that HDF5 says of an error."""
    return str(error).partition("error message = '")[2].partition("'")[0] or str(error)


def stopped_writing(job: Job, error: OSError) -> NoReturn:
    """Say that a recorder of pixels could not write, and leave."""
    said = (
        f'recorder "{job.name}" stopped: {job.run_folder} could not be written: {why(error)}. Particles are still '
        "being recorded."
    )
    job.log("error", said)
    leave(said)


def leave(said: str) -> NoReturn:
    """End this process at once; HDF5 would write again when the interpreter ends."""
    sys.stderr.write(f"{said}\n")
    sys.stderr.flush()
    os._exit(MachineError.exit_status)
