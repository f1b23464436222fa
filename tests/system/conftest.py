"""A laboratory for each test, and one for all tests of a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.running import Laboratory


@pytest.fixture
def lab(tmp_path: Path) -> Laboratory:
    """Settings, data and a list of runs of this test's own."""
    return Laboratory(tmp_path)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """The same for all tests of a module: a run takes seconds to start, so some look at one and the same."""
    return Laboratory(tmp_path_factory.mktemp("laboratory"))
