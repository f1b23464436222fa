"""The camera programs in examples/, as far as their cameras install here."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers_reception import FakeReceiver, Memory

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"


def test_the_pymmcore_example_sends_the_demo_cameras_frames() -> None:
    if importlib.util.find_spec("pymmcore_plus") is None:
        pytest.skip("NOT TESTED: examples/camera_pymmcore.py (pip install pymmcore-plus mm-test-adapters)")
    look = "import sys; from pymmcore_plus import find_micromanager; sys.exit(not find_micromanager())"
    if subprocess.run([sys.executable, "-c", look], timeout=60).returncode:
        pytest.skip("NOT TESTED: examples/camera_pymmcore.py (no device adapters: pip install mm-test-adapters)")
    memory = Memory(shape=(512, 512), dtype="uint16")
    with FakeReceiver(memory) as receiver:
        done = subprocess.run(
            [sys.executable, EXAMPLES / "camera_pymmcore.py", receiver.address, "30"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert "30 of 30 frames taken" in done.stdout, done.stdout + done.stderr
    assert memory.counters == list(range(30))
    assert receiver.counts["byes"] == 1


@pytest.mark.parametrize("name", ["camera_pymmcore.py", "camera_dcam_pylablib.py"])
def test_the_examples_call_the_sender_as_it_is(name: str) -> None:
    """Every keyword they give exists: what has no camera here can at least not be out of date."""
    import inspect

    from bridge.sender import Sender
    from bridge.wire import FrameHeader

    known = {
        "send": {*inspect.signature(Sender.send).parameters, *FrameHeader.__struct_fields__},
        "Sender": {*inspect.signature(Sender.__init__).parameters},
    }
    calls = 0
    for node in ast.walk(ast.parse((EXAMPLES / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in known:
                calls += 1
                assert {keyword.arg for keyword in node.keywords} <= known[called]
    assert calls == 2
