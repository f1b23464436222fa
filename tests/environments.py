"""Virtual environments that have other people's programs and nothing of ours, made by pip for the time of a test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def environment(folder: Path, *packages: str) -> Path:
    """The Python of a new virtual environment that has these packages, and what they need."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    done = subprocess.run(
        [*pip, "-c", REPOSITORY / "constraints.txt", *packages], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"pip could not install {packages} ({done.stderr[-300:]}): what they say was NOT tested")
    return python


def run_in(python: Path, script: str, *arguments: str | Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-P", "-c", script, *arguments], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
