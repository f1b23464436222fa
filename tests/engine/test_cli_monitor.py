"""How `ringtrack monitor` reads its command line. What becomes of a dead address: tests/bridge/monitor."""

from __future__ import annotations

import pytest

from engine import cli
from engine.cli import monitor


def test_the_address_of_the_page_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.status_of(["monitor", "http://tracking-pc:8766"]) == 2
    assert "open it in a browser" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(["every 5s"], 5.0), (["every", "5s"], 5.0), (["5s"], 5.0), (["every 2 min"], 120.0), (["every", "0.2"], 0.2)],
)
def test_how_often_is_taken_with_and_without_quotes(given: list[str], seconds: float) -> None:
    context = monitor.command.make_context("monitor", ["tcp://host:1", "--png", *given, "--seconds", "3"])
    assert monitor._seconds(context.params["png"]) == seconds
    assert context.params["where"] == "tcp://host:1"


def test_what_is_no_time_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["each", "5s"], ["every soon"], ["every", "-1s"]):
        assert cli.status_of(["monitor", "tcp://127.0.0.1:9", "--png", *given]) == 2
    assert '--png "every 5s"' in capsys.readouterr().err
