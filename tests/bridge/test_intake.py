"""The receiver's decisions: cases by name."""

from __future__ import annotations

import pytest

from bridge.intake import Again, Busy, Duplicate, Intake, Known, Settle, Take, Welcome
from bridge.wire import Bye, FrameHeader, Hello, Verdict, new_stream, same_source
from engine.accounting import Cause, Step

S = 1_000_000_000


def frame(counter: int, after: int | None = None, stream: int = 1, first: int = 0, **more: object) -> FrameHeader:
    return FrameHeader(stream=stream, first=first, counter=counter, after=after, shape=(4, 4), dtype="uint8", **more)


def lost(take: Take | Settle) -> list[tuple[int, int, Step, Cause]]:
    return [(one.first, one.last, one.step, one.cause) for one in take.losses]


KNOWN = Known(stream=1, counter=99, sequence=0, frame=89)  # counter 10 was frame 0


def test_the_first_frame_of_all_is_number_0_whatever_its_counter() -> None:
    take = Intake().frame(frame(5000, None, first=5000), 0)
    assert take == Take((), Known(1, 5000, 0, 0))


CASES = {
    "the next one": (frame(100, 99), [], (100, 0, 90)),
    "the camera skipped five": (
        frame(105, 99),
        [(90, 94, Step.CAMERA, Cause.CAMERA_SKIPPED)],
        (105, 0, 95),
    ),
    "the sender gave up two": (
        frame(102, 101, gave_up=[(100, 101, 1)]),
        [(90, 91, Step.SENDER, Cause.SENDER_BUFFER_FULL)],
        (102, 0, 92),
    ),
    "given up, unreadable and skipped": (
        frame(106, 102, gave_up=[(102, 102, 4), (100, 101, 1)]),
        [
            (90, 91, Step.SENDER, Cause.SENDER_BUFFER_FULL),
            (92, 92, Step.SENDER, Cause.FILE_UNREADABLE),
            (93, 95, Step.CAMERA, Cause.CAMERA_SKIPPED),
        ],
        (106, 0, 96),
    ),
    "what it gave up reaches back over what is known": (
        frame(101, 100, gave_up=[(90, 100, 1)]),
        [(90, 90, Step.SENDER, Cause.SENDER_BUFFER_FULL)],
        (101, 0, 91),
    ),
    "a sender that started again goes on where the first stopped": (
        frame(100, None, stream=2, first=100),
        [],
        (100, 0, 90),
    ),
    "a sender that started again, and missed three": (
        frame(103, None, stream=2, first=103),
        [(90, 92, Step.SENDER, Cause.SENDER_RESTARTED)],
        (103, 0, 93),
    ),
    "a counter that starts again opens a sequence": (frame(0, None, stream=2, first=0), [], (0, 1, 90)),
    "its first frames were given up": (
        frame(2, 1, stream=2, first=0, gave_up=[(0, 1, 1)]),
        [(90, 91, Step.SENDER, Cause.SENDER_BUFFER_FULL)],
        (2, 1, 92),
    ),
    "a hole of more than 10 000 opens a sequence": (frame(20_000, 99), [], (20_000, 1, 90)),
    "so it does across streams": (frame(20_000, None, stream=2, first=20_000), [], (20_000, 1, 90)),
    "a long outage is no hole": (
        frame(20_000, 19_999, gave_up=[(100, 19_999, 1)]),
        [(90, 19_989, Step.SENDER, Cause.SENDER_BUFFER_FULL)],
        (20_000, 0, 19_990),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_frame_is_taken_when_all_before_it_is_explained(name: str) -> None:
    header, losses, (counter, sequence, number) = CASES[name]
    take = Intake(KNOWN).frame(header, 10 * S)
    assert isinstance(take, Take)
    assert lost(take) == losses
    assert take.known == Known(header.stream, counter, sequence, number)


@pytest.mark.parametrize(
    ("header", "next_"),
    [
        (frame(102, 101), 100),
        (frame(102, 101, gave_up=[(100, 100, 1)]), 101),
        (frame(102, 101, gave_up=[(101, 101, 1)]), 100),
        (frame(105, 104, stream=2, first=101), 101),
    ],
)
def test_what_nothing_explains_is_asked_for_again(header: FrameHeader, next_: int) -> None:
    assert Intake(KNOWN).frame(header, 10 * S) == Again(next_)


def test_a_resend_hears_what_was_said_the_first_time() -> None:
    intake = Intake()
    for counter, cause in [(0, None), (1, Cause.RING_FULL), (2, Cause.REFUSED), (3, None)]:
        take = intake.frame(frame(counter, counter - 1 if counter else None), 0)
        assert isinstance(take, Take)
        if cause is None:
            intake.commit(take.known)
        else:
            for one in take.lost(Step.RECEIVER, cause):
                intake.commit_lost(one)
    heard = [intake.frame(frame(counter, None), 0) for counter in range(4)]
    verdicts = [Verdict.TAKEN, Verdict.DROPPED, Verdict.REFUSED, Verdict.TAKEN]
    assert heard == [Duplicate(verdict) for verdict in verdicts]
    again = Intake(intake.known)
    again.remember_lost(1, 1, Cause.RING_FULL)
    assert again.frame(frame(1, 0), 0) == Duplicate(Verdict.DROPPED)


def test_a_second_source_is_refused_while_the_first_speaks() -> None:
    intake = Intake()
    assert intake.hello(Hello(stream=1, source="camera A"), 0) == Welcome(-1, -1)
    take = intake.frame(frame(0), 0)
    assert isinstance(take, Take)
    intake.commit(take.known)
    busy = intake.hello(Hello(stream=2, source="camera B"), 2 * S)
    assert isinstance(busy, Busy)
    assert '"camera A"' in busy.why
    assert isinstance(intake.frame(frame(7, stream=2, first=7), 2 * S), Busy)
    assert isinstance(intake.bye(Bye(stream=2, first=0, last=7), 2 * S), Busy)
    intake.heard(2, 2 * S)  # who is refused does not speak for the first
    assert isinstance(intake.hello(Hello(stream=2), int(3.5 * S)), Welcome)
    assert isinstance(intake.hello(Hello(stream=1), int(3.6 * S)), Busy)


def test_after_a_bye_another_source_may_speak_at_once() -> None:
    intake = Intake(KNOWN, heard_ns=0)
    settle = intake.bye(Bye(stream=1, first=10, last=99), 0)
    assert settle == Settle((), end=True)
    intake.close(1)
    assert intake.bye(Bye(stream=1, first=10, last=99), 0) == Settle((), end=False)
    assert isinstance(intake.hello(Hello(stream=2), 1), Welcome)


def test_a_source_without_frames_ends_too() -> None:
    assert Intake().bye(Bye(stream=1, first=0, last=-1), 0) == Settle((), end=True)


def test_the_last_frames_that_were_given_up_are_in_the_bye() -> None:
    settle = Intake(KNOWN).bye(Bye(stream=1, first=10, last=101, gave_up=[(100, 101, 3)]), 0)
    assert isinstance(settle, Settle)
    assert lost(settle) == [(90, 91, Step.SENDER, Cause.SENDER_STOPPED)]


def test_a_source_that_started_again_without_a_bye_is_told_where_to_resume() -> None:
    stream = new_stream("folder", "pc")
    again = new_stream("folder", "pc")
    other = new_stream("another", "pc")
    assert stream != again
    assert same_source(stream, again)
    assert not same_source(stream, other)
    assert not same_source(1, 2)
    known = Known(stream, 99, 0, 89)
    assert Intake(known).hello(Hello(stream=again), 10 * S) == Welcome(-1, 100)
    assert Intake(known).hello(Hello(stream=other), 10 * S) == Welcome(-1, -1)
    closed = Intake(known)
    closed.close(stream)
    assert closed.hello(Hello(stream=again), 0) == Welcome(-1, -1)
