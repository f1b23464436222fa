"""The notebooks of examples/ run from top to bottom, as people would run them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples").glob("*.ipynb"))
EXECUTE = """
import sys, nbclient, nbformat
nbclient.NotebookClient(nbformat.read(sys.argv[1], 4), timeout=100, kernel_name="python3").execute()
"""
pytestmark = pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="nbclient is not installed")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    names = {"XDG_RUNTIME_DIR": runtime, "JUPYTER_RUNTIME_DIR": runtime, "JUPYTER_DATA_DIR": tmp_path / "jupyter",
             "IPYTHONDIR": tmp_path / "ipython", "MPLBACKEND": "agg"}  # fmt: skip
    done = subprocess.run(  # a process of its own: the client leaves threads and event loops behind
        [sys.executable, "-c", EXECUTE, str(path)],
        env={**os.environ, **{name: str(value) for name, value in names.items()}}, cwd=tmp_path, capture_output=True,
        text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
