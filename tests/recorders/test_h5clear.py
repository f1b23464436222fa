"""The mark of a dead writer is taken away, and nothing else is touched."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import h5py
import pytest

from recorders import h5clear
from recorders.h5clear import NotClearedError, clear, lookup3

DYING_WRITER = """
import h5py, os, sys
file = h5py.File(sys.argv[1], "w", libver=("v110", "v110"))
file.create_dataset("a", shape=(0,), maxshape=(None,), chunks=(16,), dtype="<i8")
file.swmr_mode = True
file["a"].resize((3,)); file["a"][:] = [1, 2, 3]
file.flush()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def left_open(tmp_path: Path) -> Path:
    """A file whose writer was killed."""
    path = tmp_path / "left_open.h5"
    subprocess.run([sys.executable, "-c", DYING_WRITER, str(path)], check=False)
    return path


def test_the_checksum_is_bob_jenkins_lookup3() -> None:
    # The values in the comments of his driver5.
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


def test_a_file_left_open_is_refused_before_and_whole_after(left_open: Path) -> None:
    with pytest.raises(OSError, match="write"):
        h5py.File(left_open, "r")
    before = left_open.read_bytes()
    assert clear(left_open)
    after = left_open.read_bytes()
    assert [i for i in range(len(before)) if before[i] != after[i]] == [11, 44, 45, 46, 47]
    with h5py.File(left_open, "r") as file:
        assert file["a"][:].tolist() == [1, 2, 3]
    assert not clear(left_open)


def test_a_file_closed_in_order_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "closed.h5"
    h5py.File(path, "w", libver=("v110", "v110")).close()
    before = path.read_bytes()
    assert not clear(path)
    assert path.read_bytes() == before


def test_a_file_that_is_being_written_is_refused(left_open: Path) -> None:
    held = h5clear.hold(left_open)
    try:
        with pytest.raises(NotClearedError, match="living"):
            clear(left_open)
        assert h5clear.is_held(left_open)
    finally:
        import os

        os.close(held)
    assert clear(left_open)


def damaged(name: str) -> bytes:
    head = bytearray(h5clear.SIGNATURE + bytes([3, 8, 8, 5]) + bytes(32))
    checksum = True
    if name == "no HDF5 file":
        head[1:4] = b"PNG"
    elif name == "a superblock of version 0":
        head[8] = 0
    elif name == "a damaged superblock":
        checksum = False
    elif name == "the unknown flags 0x45":
        head[11] = 0x45
    return bytes(head) + (struct.pack("<I", lookup3(bytes(head))) if checksum else b"\1\2\3\4") + bytes(100)


@pytest.mark.parametrize(
    "name", ["no HDF5 file", "a superblock of version 0", "a damaged superblock", "the unknown flags 0x45"]
)
def test_what_is_not_exactly_that_is_refused_and_untouched(tmp_path: Path, name: str) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(damaged(name))
    with pytest.raises(NotClearedError, match=name):
        clear(path)
    assert path.read_bytes() == damaged(name)


def test_an_empty_file_is_no_hdf5_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.h5"
    path.touch()
    with pytest.raises(NotClearedError, match="no HDF5 file"):
        clear(path)
