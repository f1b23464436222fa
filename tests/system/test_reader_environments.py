"""Environments that have one reader and nothing of ours open what a run wrote: every value and pixel is equal.

The virtual environments are made here, by pip with the versions of constraints.txt; the Debian programs are installed
by scripts/reader-tools.sh. What is missing is skipped, by name.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from recorders.archive import Archive
from tests.environments import environment, run_in
from tests.system.running import Ended, Laboratory, diffusing

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

REPOSITORY = Path(__file__).parents[2]
SHAPE_HW = (300, 340)
FRAMES = 60
TABLES = ("tracks", "frames", "events", "particles")
SETTINGS: dict[str, dict[str, Any]] = {
    "camera": {"width": SHAPE_HW[1], "height": SHAPE_HW[0], "dtype": "uint16", "fps": 200, "pixel_um": 0.25},
    "tracking": {"diameter": 11, "separation": 12, "minmass": 400},
    "linking": {"search_range": 5},
    "record": {"images": True, "tiff": True, "csv": True, "flush_s": 0.1},
}
CSV_IN_FULL = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false"
"""LibreOffice's filter: comma, quotes, UTF-8, from the first line on; numbers with all their digits."""

HAS_ONLY = """
import importlib.util, sys
others = [name for name in sys.argv[3].split(",") if importlib.util.find_spec(name)]
assert not others, f"this environment has {others} too"
"""
PANDAS = (
    HAS_ONLY
    + """
import numpy, pandas
for name in sys.argv[4].split(","):
    table = pandas.read_hdf(sys.argv[1], name)
    columns = {column: table[column].to_numpy() for column in table}
    texts = {column: values.astype("U") for column, values in columns.items() if values.dtype == object}
    numpy.savez(f"{sys.argv[2]}/{name}.npz", **(columns | texts))
"""
)
H5PY = (
    HAS_ONLY
    + """
import h5py, numpy
with h5py.File(sys.argv[1]) as file:
    for name in sys.argv[4].split(","):
        numpy.save(f"{sys.argv[2]}/{name}.npy", file[name][...])
    assert file["images"].shape[0] > 0  # there, though only a plug-in unpacks its frames
"""
)
R_HDF5 = """
library(hdf5r)
options(digits = 22)
file <- H5File$new(commandArgs(TRUE)[1], mode = "r")
for (name in c("tracks", "frames", "events", "particles")) {
  table <- file[[name]][]
  for (column in names(table)) {
    values <- table[[column]]
    text <- if (is.character(values)) values else if (inherits(values, "integer64")) as.character(values) else
      sprintf("%.17g", values)
    writeLines(as.character(text), file.path(commandArgs(TRUE)[2], paste0(name, ".", column)))
  }
}
"""
R_CSV = """
table <- read.csv(commandArgs(TRUE)[1])
for (column in names(table))
  writeLines(sprintf("%.17g", as.numeric(table[[column]])), file.path(commandArgs(TRUE)[2], column))
"""


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package}): whether it reads our files was NOT tested")
    return found


@pytest.fixture(scope="module")
def frames() -> NDArray[Any]:
    return diffusing(20, FRAMES, SHAPE_HW, seed=4)


@pytest.fixture(scope="module")
def ended(shared_lab: Laboratory, frames: NDArray[Any]) -> Ended:
    """A run with everything that is recorded."""
    ended = shared_lab.run(shared_lab.settings(SETTINGS), "--source", shared_lab.stack(frames))
    assert ended.counts == (FRAMES, FRAMES, FRAMES, 0), ended.stderr
    return ended


@pytest.fixture(scope="module")
def hdf5(ended: Ended) -> Path:
    return ended.folder / f"tracking_{ended.folder.name}.h5"


@pytest.fixture(scope="module")
def csv(ended: Ended) -> Path:
    return ended.folder / f"tracks_{ended.folder.name}.csv"


@pytest.fixture(scope="module")
def tables(hdf5: Path) -> dict[str, NDArray[Any]]:
    """What the file holds, as we read it."""
    with h5py.File(hdf5) as file:
        found = {name: file[name][...] for name in TABLES}
    assert all(len(table) for table in found.values())
    return found


def test_pandas_and_tables_alone_read_every_table(
    tmp_path: Path, hdf5: Path, csv: Path, tables: dict[str, NDArray[Any]]
) -> None:
    python = environment(tmp_path / "env", "pandas", "tables")
    run_in(python, PANDAS, hdf5, tmp_path, "h5py,hdf5plugin,recorders,engine,imagecodecs", ",".join(TABLES))
    for name, expected in tables.items():
        found = np.load(tmp_path / f"{name}.npz")
        assert found.files == list(expected.dtype.names or ())
        for column in found.files:
            values = expected[column]
            if values.dtype.kind == "S":
                values = np.char.decode(values)
            np.testing.assert_array_equal(found[column], values)
    script = "import numpy, pandas, sys; numpy.save(sys.argv[2], pandas.read_csv(sys.argv[1]).to_numpy())"
    run_in(python, script, csv, tmp_path / "csv.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "csv.npy"), pd.read_csv(csv).to_numpy())
    assert_is_of_tracks(pd.read_csv(csv), tables["tracks"])


def test_h5py_alone_reads_every_table_without_plugins(
    tmp_path: Path, hdf5: Path, tables: dict[str, NDArray[Any]]
) -> None:
    python = environment(tmp_path / "env", "h5py")
    run_in(python, H5PY, hdf5, tmp_path, "hdf5plugin,tables,pandas,recorders,engine,imagecodecs", ",".join(TABLES))
    for name, expected in tables.items():
        assert np.load(tmp_path / f"{name}.npy").tobytes() == expected.tobytes()


def test_r_reads_every_table(tmp_path: Path, hdf5: Path, tables: dict[str, NDArray[Any]]) -> None:
    rscript = program("Rscript", "r-base-core and r-cran-hdf5r")
    if subprocess.run([rscript, "-e", "library(hdf5r)"], capture_output=True, check=False).returncode:
        pytest.skip("R has no hdf5r (Debian: r-cran-hdf5r): whether R reads our tables was NOT tested")
    (tmp_path / "read.R").write_text(R_HDF5)
    subprocess.run([rscript, tmp_path / "read.R", hdf5, tmp_path], check=True, capture_output=True)
    for name, expected in tables.items():
        for column in expected.dtype.names or ():
            lines = (tmp_path / f"{name}.{column}").read_text().splitlines()
            assert_same_text(lines, expected[column])


def test_r_reads_the_csv(tmp_path: Path, csv: Path) -> None:
    rscript = program("Rscript", "r-base-core")
    (tmp_path / "read.R").write_text(R_CSV)
    subprocess.run([rscript, tmp_path / "read.R", csv, tmp_path], check=True, capture_output=True)
    expected = pd.read_csv(csv)
    for column in expected:
        found = [float(line) for line in (tmp_path / str(column)).read_text().splitlines()]
        # R reads decimals to a unit in the last place.
        np.testing.assert_allclose(found, expected[column].to_numpy(), rtol=5e-16, atol=0)


def test_octave_reads_tracks_and_the_csv(
    tmp_path: Path, hdf5: Path, csv: Path, tables: dict[str, NDArray[Any]]
) -> None:
    octave = program("octave-cli", "octave")
    script = (
        f't = read_tracks("{hdf5}"); for [values, name] = t;'
        f'  f = fopen(["{tmp_path}/" name], "w"); fprintf(f, "%.17g\\n", values); fclose(f); end;'
        f't = dlmread("{csv}", ",", 1, 0); f = fopen("{tmp_path}/csv", "w");'
        ' fprintf(f, "%.17g\\n", t\'); fclose(f);'
    )
    subprocess.run([octave, "--norc", "--path", REPOSITORY / "examples", "--eval", script], check=True)
    for column in tables["tracks"].dtype.names or ():
        assert_same_text((tmp_path / column).read_text().splitlines(), tables["tracks"][column])
    assert_same_text((tmp_path / "csv").read_text().splitlines(), pd.read_csv(csv).to_numpy().reshape(-1))


def test_h5dump_writes_the_same_bytes(tmp_path: Path, hdf5: Path, tables: dict[str, NDArray[Any]]) -> None:
    h5dump = program("h5dump", "hdf5-tools")
    for name, expected in tables.items():
        to = tmp_path / f"{name}.bin"
        subprocess.run([h5dump, "-d", f"/{name}", "-b", "FILE", "-o", to, hdf5], check=True, capture_output=True)
        assert to.read_bytes() == expected.tobytes()
    shown = subprocess.run([h5dump, "-H", "-d", "/images", hdf5], check=True, capture_output=True, text=True)
    assert f"( {FRAMES}, {SHAPE_HW[0]}, {SHAPE_HW[1]} )" in shown.stdout


def test_a_spreadsheet_opens_the_csv(tmp_path: Path, csv: Path) -> None:
    soffice = program("soffice", "libreoffice-calc-nogui")
    own = f"-env:UserInstallation=file://{tmp_path / 'profile'}"
    sheet = tmp_path / "out" / f"{csv.stem}.xlsx"
    for form, path in (("xlsx", csv), (CSV_IN_FULL, sheet)):
        convert = [soffice, own, "--headless", "--convert-to", form, "--outdir", tmp_path / "out", path]
        subprocess.run(convert, check=True, capture_output=True, timeout=300)
    found, expected = pd.read_csv(tmp_path / "out" / csv.name), pd.read_csv(csv)
    assert list(found) == list(expected)
    assert {kind.kind for kind in found.dtypes} <= {"i", "f"}  # numbers, no texts
    np.testing.assert_allclose(found.to_numpy(float), expected.to_numpy(float), rtol=1e-14)  # it keeps 15 digits


def test_tifffile_alone_reads_the_frames(tmp_path: Path, ended: Ended, frames: NDArray[Any]) -> None:
    python = environment(tmp_path / "env", "tifffile", "imagecodecs")
    script = (
        "import numpy, sys, tifffile; from pathlib import Path;"
        "numpy.save(sys.argv[2], numpy.stack([tifffile.imread(p) for p in sorted(Path(sys.argv[1]).glob('*.tiff'))]))"
    )
    run_in(python, script, ended.folder / "frames" / "000000000", tmp_path / "frames.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "frames.npy"), frames)


@pytest.mark.parametrize("effort", [1, 3])
def test_djxl_decodes_the_archive_of_the_frames(
    tmp_path: Path, shared_lab: Laboratory, ended: Ended, frames: NDArray[Any], effort: int
) -> None:
    djxl = program("djxl", "libjxl-tools")
    watch, dest = ended.folder / "frames" / "000000000", tmp_path / "archive"
    done = shared_lab.command("archive", watch, dest, "--finished", "--keep", "--effort", str(effort))
    assert done.status == 0, done.stderr
    archive = Archive.open(dest)
    assert len(archive) == FRAMES
    for row in archive.rows:
        number = int(Path(row.file_name).stem.rsplit("_", 1)[1])
        subprocess.run([djxl, archive.path(row), tmp_path / "a.pgm"], check=True, capture_output=True)
        header, size, top, data = (tmp_path / "a.pgm").read_bytes().split(b"\n", 3)
        assert (header, size, top) == (b"P5", b"%d %d" % SHAPE_HW[::-1], b"65535")
        np.testing.assert_array_equal(np.frombuffer(data, ">u2").reshape(SHAPE_HW), frames[number])


def assert_is_of_tracks(csv: pd.DataFrame, tracks: NDArray[Any]) -> None:
    """The text holds the table's numbers: positions to a millionth of a pixel, the others to their type's digits."""
    np.testing.assert_array_equal(csv["frame"], tracks["frame"])
    np.testing.assert_array_equal(csv["particle_id"], tracks["particle"])
    for column in ("x", "y"):
        np.testing.assert_allclose(csv[column], tracks[column], atol=1e-6)
    for column in ("mass", "ecc", "size", "signal"):
        np.testing.assert_array_equal(csv[column].astype(np.float32), tracks[column])


def assert_same_text(lines: list[str], expected: NDArray[Any]) -> None:
    if expected.dtype.kind == "S":
        assert lines == [value.decode() for value in expected.tolist()]
    elif expected.dtype.kind in "iu":
        assert [int(line) if "e" not in line else int(float(line)) for line in lines] == expected.tolist()
    else:
        found = np.array([float("nan" if line == "NA" else line) for line in lines])
        np.testing.assert_array_equal(found.astype(expected.dtype), expected)
