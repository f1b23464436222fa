"""What others open our files with: pandas, plain h5py, R, Octave, h5dump."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.rows import ROW
from recorders.csv import main as record_csv
from recorders.hdf5 import main as record_hdf5

REPOSITORY = Path(__file__).parents[2]

R_SCRIPT = """
library(hdf5r)
file <- H5File$new(commandArgs(TRUE)[1], mode = "r")
tracks <- file[["tracks"]][]
frames <- file[["frames"]][]
cat(names(tracks), "\\n")
cat(sprintf("%.17g", tracks$x), "\\n")
cat(as.character(tracks$frame), "\\n")
cat(frames$state, "\\n")
cat(frames$checksum, "\\n")
cat(h5attr(file[["metadata/tracking_config"]], "diameter"), "\\n")
"""


def needs(tool: str, package: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed (Debian: {package}): whether it reads our files was NOT tested")
    return path


@pytest.fixture
def folder(job: Any, ring: Any) -> Path:
    """A finished run with lost frames and frame numbers beyond 32 bits, as HDF5 and CSV."""
    frames = [0, 1, 6, 7, 3_000_000_000]
    losses = [ring.loss(2, 5)]
    script = [ring.frame(k, 600, ledger=int(k > 5)) for k in frames]
    for main in (record_hdf5, record_csv):
        run = job([*script, ring.end(1)], losses)
        run.logged.clear()
        main(run)
    return Path(run.run_folder)


@pytest.fixture
def expected(ring: Any) -> np.ndarray:
    return np.concatenate([ring.rows(k, 600) for k in (0, 1, 6, 7, 3_000_000_000)])


def test_pandas_alone_reads_tracks_and_frames(folder: Path, expected: np.ndarray) -> None:
    tracks = pd.read_hdf(folder / "tracking_run_001.h5", "tracks")
    assert isinstance(tracks, pd.DataFrame)
    assert tracks.columns.tolist() == list(ROW.names or ())
    assert {str(kind) for kind in tracks.dtypes} == {"int64", "float64", "float32", "int32"}
    for name in ROW.names or ():
        np.testing.assert_array_equal(tracks[name].to_numpy(), expected[name])
    frames = pd.read_hdf(folder / "tracking_run_001.h5", "frames")
    assert frames["state"].tolist()[:8] == ["tracked"] * 2 + ["lost"] * 4 + ["tracked"] * 2
    assert not [name for name, kind in frames.dtypes.items() if str(kind).startswith("uint")]


def test_h5py_alone_reads_it_without_plugins(folder: Path, expected: np.ndarray) -> None:
    script = (
        "import h5py, sys; t = h5py.File(sys.argv[1])['tracks'][...]; sys.stdout.buffer.write(t.tobytes());"
        "assert not {'hdf5plugin', 'tables', 'recorders'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, str(folder / "tracking_run_001.h5")], capture_output=True, check=True
    )
    assert done.stdout == expected.tobytes()


def test_r_reads_tracks_and_frames(folder: Path, expected: np.ndarray, tmp_path: Path) -> None:
    rscript = needs("Rscript", "r-base-core and r-cran-hdf5r")
    if subprocess.run([rscript, "-e", "library(hdf5r)"], capture_output=True, check=False).returncode:
        pytest.skip("R has no hdf5r (Debian: r-cran-hdf5r): whether R reads our files was NOT tested")
    script = tmp_path / "read.R"
    script.write_text(R_SCRIPT)
    done = subprocess.run(
        [rscript, str(script), str(folder / "tracking_run_001.h5")], capture_output=True, text=True, check=True
    )
    names, x, frame, state, checksum, diameter = done.stdout.splitlines()
    assert names.split() == list(ROW.names or ())
    assert [float(value) for value in x.split()] == expected["x"].tolist()
    assert [int(float(value)) for value in frame.split()] == expected["frame"].tolist()
    assert state.split()[:3] == ["tracked", "tracked", "lost"]
    assert checksum.split()[0] == f"{2**63:016x}"
    assert diameter.strip() == "21"


def test_octave_reads_tracks_with_our_function(folder: Path, expected: np.ndarray) -> None:
    octave = needs("octave-cli", "octave")
    script = (
        f't = read_tracks("{folder / "tracking_run_001.h5"}");'
        'disp(class(t.frame)); printf("%.17g ", t.x); printf("\\n"); printf("%d ", t.frame); printf("\\n");'
        'printf("%.9g ", t.mass); printf("\\n"); disp(strjoin(fieldnames(t), " "));'
    )
    done = subprocess.run(
        [octave, "--norc", "--path", str(REPOSITORY / "examples"), "--eval", script],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    kind, x, frame, mass, names = done.stdout.splitlines()
    assert kind == "int64"
    assert [float(value) for value in x.split()] == expected["x"].tolist()
    assert [int(value) for value in frame.split()] == expected["frame"].tolist()
    assert [np.float32(value) for value in mass.split()] == expected["mass"].tolist()
    assert names.split() == list(ROW.names or ())


def test_h5dump_shows_every_table(folder: Path) -> None:
    h5dump = needs("h5dump", "hdf5-tools")
    done = subprocess.run(
        [h5dump, "-d", "/accounting/steps", "-d", "/accounting/lost", "-d", "/frames", folder / "tracking_run_001.h5"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert '"skipped by the camera' in done.stdout


def test_the_csv_is_plain(folder: Path, expected: np.ndarray) -> None:
    path = folder / "tracks_run_001.csv"
    lines = path.read_text().splitlines()
    assert lines[0] == "frame,particle_id,x,y,mass,ecc,size,signal,timestamp"
    assert all(line.count(",") == 8 for line in lines)
    table = pd.read_csv(path)
    assert table["frame"].tolist() == expected["frame"].tolist()
    np.testing.assert_allclose(table["x"], expected["x"], atol=1e-6)
    assert table["mass"].astype(np.float32).tolist() == expected["mass"].tolist()
    digits = lines[1].rsplit(",", 1)[1]
    assert len(digits.split(".")[1]) == 6
    assert 1.7e9 < float(digits) < 5e9  # UTC seconds


def test_r_reads_the_csv(folder: Path) -> None:
    rscript = needs("Rscript", "r-base-core")
    script = 't <- read.csv(commandArgs(TRUE)[1]); cat(sapply(t, class), "\\n"); cat(nrow(t), "\\n")'
    done = subprocess.run(
        [rscript, "-e", script, str(folder / "tracks_run_001.csv")], capture_output=True, text=True, check=True
    )
    kinds, count = done.stdout.splitlines()
    assert set(kinds.split()) <= {"numeric", "integer"}
    assert int(count) == 3000


@pytest.mark.parametrize("module", ["recorders.hdf5", "recorders.csv"])
def test_a_recorders_process_imports_nothing_heavy(module: str) -> None:
    script = (
        f"import sys, {module}; "
        "print(*{'pandas', 'matplotlib', 'trackpy', 'tables', 'zmq', 'rich', 'click', 'tornado'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
    )  # fmt: skip
    assert done.stdout.split() == []
