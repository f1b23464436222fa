"""What the monitor makes of a run that has no picture for it, and of one that is silent."""

from __future__ import annotations

import pytest

from bridge import control_wire as wire
from bridge.both_ways import Arrays, Result
from bridge.client import Client
from bridge.connection import NoAnswerError
from bridge.monitor.feed import LiveFeed
from engine.errors import PeerError


class Refusing(Client):
    """A client of a run that answers every request so."""

    def __init__(self, error: PeerError) -> None:
        super().__init__()
        self._error = error

    def call(self, request: wire.AnyRequest) -> tuple[Result, Arrays]:
        raise self._error


def test_a_frame_without_a_picture_is_no_lost_connection_whatever_the_words() -> None:
    feed = LiveFeed("tcp://127.0.0.1:9")
    feed._fetch_picture(Refusing(PeerError("the camera has not answered yet: there is no frame")))
    assert feed.picture() is None


def test_silence_is_a_lost_connection() -> None:
    with pytest.raises(NoAnswerError):
        LiveFeed("tcp://127.0.0.1:9")._fetch_picture(Refusing(NoAnswerError("nobody")))


def test_who_does_not_answer_in_time_is_silent() -> None:
    with Client("tcp://127.0.0.1:9", timeout_s=0.01) as client, pytest.raises(NoAnswerError):
        client.hello()
