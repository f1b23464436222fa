"""The receiver's decisions: cases by name, and a world where everything that can go wrong does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.intake import Again, Busy, Duplicate, Intake, Known, Lost, Settle, Take, Welcome
from bridge.outbox import ByeDue, HelloDue, Outbox
from bridge.wire import Answer, Bye, FrameHeader, Hello, Verdict, new_stream, same_source
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


# ---- the world


@dataclass
class Disk:
    """What survives the receiver: the ring's newest record and the ledger."""

    frames: list[tuple[Known, tuple[int, int]]] = field(default_factory=list)
    ledger: list[Lost] = field(default_factory=list)

    def known(self) -> Known | None:
        last = [self.frames[-1][0]] if self.frames else []
        last += [self.ledger[-1].known] if self.ledger else []
        return max(last, key=lambda known: known.frame, default=None)


class KilledError(Exception):
    pass


class World:
    """A sender's outbox, a receiver's intake and bad luck between them."""

    def __init__(self, live: bool) -> None:
        self.ids = count(1)
        self.live = live
        self.now = S
        self.disk = Disk()
        self.incarnation = 1
        self.intake = Intake()
        self.pipes: list[deque[object]] = [deque()]
        self.answers: deque[Answer] = deque()
        self.epoch = 0
        self.counter = -1
        self.truth: dict[tuple[int, int], set[Cause | None]] = {}
        self.first: dict[int, int] = {}
        self.sender_killed = False
        self.new_outbox()

    def new_outbox(self) -> None:
        self.outbox: Outbox[tuple[int, int]] = Outbox(lambda: next(self.ids), self.live, 5, 10**9)

    def tick(self, ns: int = 1_000_000) -> int:
        self.now += ns
        return self.now

    # ---- what can happen

    def expose(self) -> None:
        if not self.live and self.outbox.full:
            return
        self.counter += 1
        key = (self.epoch, self.counter)
        self.first.setdefault(self.epoch, self.counter)
        self.truth[key] = {None}
        for victim, cause in self.outbox.offer(self.counter, key, 1):
            self.truth[victim.payload] = {cause}

    def skip(self) -> None:
        if self.epoch not in self.first:
            return
        for _ in range(3):
            self.counter += 1
            self.truth[self.epoch, self.counter] = {Cause.CAMERA_SKIPPED}

    def unreadable(self) -> None:
        self.counter += 1
        self.first.setdefault(self.epoch, self.counter)
        self.truth[self.epoch, self.counter] = {Cause.FILE_UNREADABLE}
        self.outbox.give_up(self.counter, Cause.FILE_UNREADABLE)

    def trim(self) -> None:
        while self.truth.get((self.epoch, self.counter)) == {Cause.CAMERA_SKIPPED}:
            del self.truth[self.epoch, self.counter]  # nobody can know of those
            self.counter -= 1

    def reset(self) -> None:
        self.trim()
        if self.counter > self.first.get(self.epoch, self.counter):
            self.epoch += 1
            self.counter = -1

    def send(self) -> None:
        due = self.outbox.due(self.tick())
        if due is None or len(self.pipes[-1]) > 4:
            return
        t = self.tick()
        message: object
        if isinstance(due, HelloDue):
            message = Hello(stream=due.stream, previous=due.previous, t_sent_ns=t)
        elif isinstance(due, ByeDue):
            message = Bye(
                stream=due.stream, previous=due.previous, first=due.first, last=due.last,
                gave_up=due.gave_up, more=due.more, t_sent_ns=t,
            )  # fmt: skip
        else:
            kept, stream = due.frame, due.stream
            header = frame(
                kept.counter, kept.after, stream.id, stream.first,
                previous=stream.previous, gave_up=stream.gave_up_before(kept.counter), t_sent_ns=t,
            )  # fmt: skip
            message = (header, kept.payload, kept.known)
        self.outbox.sent(due, t)
        self.pipes[-1].append(message)

    def receive(self, verdict: Verdict = Verdict.TAKEN, writes: int = 99, old: bool = False) -> None:
        """One message; the receiver dies after so many writes to what survives it."""
        pipe = self.pipes[0] if old else self.pipes[-1]
        if not pipe:
            return
        message = pipe.popleft()
        try:
            answer = self.decide(message, verdict, iter(range(writes)))
        except KilledError:
            self.kill_receiver()
            return
        if pipe is self.pipes[-1]:
            self.answers.append(answer)

    def write_losses(self, losses: tuple[Lost, ...], writes: object) -> None:
        for one in losses:
            if next(writes, None) is None:  # type: ignore[call-overload]
                raise KilledError
            self.disk.ledger.append(one)
            self.intake.commit_lost(one)

    def decide(self, message: object, verdict: Verdict, writes: object) -> Answer:
        def answer(verdict: Verdict, stream: int, t: int, counter: int = -1, next_: int = -1) -> Answer:
            if next(writes, None) is None:  # type: ignore[call-overload]
                raise KilledError
            return Answer(
                verdict=verdict, stream=stream, counter=counter, next=next_, run_id="run",
                incarnation=self.incarnation, t_sent_ns=t,
            )  # fmt: skip

        if isinstance(message, Hello):
            welcome = self.intake.hello(message, self.now)
            if isinstance(welcome, Busy):
                return answer(Verdict.BUSY, message.stream, message.t_sent_ns)
            return answer(Verdict.WELCOME, message.stream, message.t_sent_ns, -1, welcome.next)
        if isinstance(message, Bye):
            settle = self.intake.bye(message, self.now)
            if isinstance(settle, Settle):
                self.write_losses(settle.losses, writes)
                if settle.end:
                    self.intake.close(message.stream)
                return answer(Verdict.CLOSED, message.stream, message.t_sent_ns)
            if isinstance(settle, Again):
                return answer(Verdict.AGAIN, message.stream, message.t_sent_ns, -1, settle.next)
            return answer(Verdict.BUSY, message.stream, message.t_sent_ns)
        assert isinstance(message, tuple)
        header, payload, header_only = message
        take = self.intake.frame(header, self.now)
        where = (header.stream, header.t_sent_ns, header.counter)
        if isinstance(take, Busy):
            return answer(Verdict.BUSY, *where)
        if isinstance(take, Duplicate):
            return answer(take.verdict, *where)
        if isinstance(take, Again):
            return answer(Verdict.AGAIN, *where, take.next)
        if header_only:
            return answer(Verdict.AGAIN, *where, header.counter)
        if verdict is not Verdict.TAKEN:
            cause = Cause.RING_FULL if verdict is Verdict.DROPPED else Cause.REFUSED
            self.truth[payload].add(cause)
            self.write_losses(take.lost(Step.RECEIVER, cause), writes)
            return answer(verdict, *where)
        self.write_losses(take.losses, writes)
        if next(writes, None) is None:  # type: ignore[call-overload]
            raise KilledError
        self.disk.frames.append((take.known, payload))
        self.intake.commit(take.known)
        return answer(Verdict.TAKEN, *where)

    def hear(self) -> None:
        if self.answers:
            answer = self.answers.popleft()
            met = self.outbox._met
            for done in self.outbox.answered(answer, self.tick()):
                assert done.payload[1] == done.counter
            if self.outbox._met and not met and answer.next < 0:
                self.begin_here()

    def begin_here(self) -> None:
        """What was let go before the first welcome is no loss of this run."""
        kept = [frame.payload for stream in self.outbox._streams for frame in stream.kept.values()]
        if not kept:
            self.first.pop(self.epoch, None)
        begin = min(kept, default=(self.epoch, self.counter + 1))
        known = {key for _, key in self.disk.frames}
        self.truth = {key: causes for key, causes in self.truth.items() if key >= begin or key in known}

    def cut(self) -> None:
        """The connection breaks; what the old one still holds may be read later."""
        self.pipes = [self.pipes[-1], deque()]
        self.answers.clear()
        self.outbox.connected()

    def lose(self) -> None:
        """The connection breaks, and what was in it is gone, but ZeroMQ does not say so."""
        self.pipes[-1].clear()
        self.answers.clear()

    def kill_receiver(self) -> None:
        self.pipes = [deque()]
        self.answers.clear()
        self.incarnation += 1
        self.intake = Intake(self.disk.known(), self.now)
        self.outbox.connected()

    def kill_sender(self) -> None:
        for stream in self.outbox._streams:
            for kept in stream.kept.values():
                self.truth[kept.payload].add(Cause.SENDER_RESTARTED)
            for first, last, _ in stream.gave_up:
                for counter in range(first, last + 1):
                    for epoch in range(self.epoch + 1):
                        if (epoch, counter) in self.truth:
                            self.truth[epoch, counter].add(Cause.SENDER_RESTARTED)
        for key, causes in self.truth.items():
            if Cause.CAMERA_SKIPPED in causes:
                self.truth[key].add(Cause.SENDER_RESTARTED)
        self.sender_killed = True
        self.cut()
        self.new_outbox()

    def wait(self) -> None:
        self.tick(1_500_000_000)

    def settle(self) -> None:
        self.trim()
        self.outbox.finish()
        for _ in range(3000):
            if self.outbox.closed:
                return
            self.send()
            self.receive()
            self.receive(old=True)
            self.hear()
            self.tick(20_000_000)
        raise AssertionError("the sender never came to an end")

    # ---- the account

    def check(self) -> None:
        numbers: dict[int, object] = {}
        epochs: dict[int, int] = {}
        for known, (epoch, counter) in self.disk.frames:
            assert counter == known.counter
            assert epochs.setdefault(known.sequence, epoch) == epoch or self.sender_killed
            assert known.frame not in numbers
            numbers[known.frame] = (epoch, counter)
            assert None in self.truth[epoch, counter], "it was taken, but the sender gave it up"
        for one in self.disk.ledger:
            back = one.known.counter - one.known.frame
            for number in range(one.first, one.last + 1):
                assert number not in numbers
                numbers[number] = one
                epoch = epochs.get(one.known.sequence, -1)
                if (epoch, number + back) in self.truth and not self.sender_killed:
                    assert one.cause in self.truth[epoch, number + back]
                    self.truth[epoch, number + back] = {one.cause}
        assert sorted(numbers) == list(range(len(numbers)))
        taken = {key for _, key in self.disk.frames}
        assert len(taken) == len(self.disk.frames)
        if not self.sender_killed:
            assert len(numbers) == len(self.truth)
            for key, causes in self.truth.items():
                assert key in taken or causes != {None}, f"{key} is nowhere"


OPS = {
    "expose": lambda world: world.expose(),
    "two": lambda world: (world.expose(), world.expose()),
    "skip": lambda world: world.skip(),
    "unreadable": lambda world: world.unreadable(),
    "reset": lambda world: world.reset(),
    "send": lambda world: world.send(),
    "send all": lambda world: [world.send() for _ in range(6)],
    "receive": lambda world: world.receive(),
    "receive all": lambda world: [world.receive() for _ in range(6)],
    "receive old": lambda world: world.receive(old=True),
    "drop": lambda world: world.receive(Verdict.DROPPED),
    "refuse": lambda world: world.receive(Verdict.REFUSED),
    "die at once": lambda world: world.receive(writes=0),
    "die after one": lambda world: world.receive(writes=1),
    "die after two": lambda world: world.receive(writes=2),
    "drop and die": lambda world: world.receive(Verdict.DROPPED, writes=1),
    "drop and die later": lambda world: world.receive(Verdict.DROPPED, writes=2),
    "hear": lambda world: world.hear(),
    "hear all": lambda world: [world.hear() for _ in range(9)],
    "cut": lambda world: world.cut(),
    "lose": lambda world: world.lose(),
    "kill receiver": lambda world: world.kill_receiver(),
    "wait": lambda world: world.wait(),
}


@settings(max_examples=400, deadline=None)
@given(live=st.booleans(), ops=st.lists(st.sampled_from(sorted(OPS)), max_size=120))
def test_every_counter_ends_exactly_once_as_taken_or_lost_with_its_cause(live: bool, ops: list[str]) -> None:
    world = World(live)
    for op in ops:
        OPS[op](world)
    world.settle()
    world.check()


@settings(max_examples=150, deadline=None)
@given(live=st.booleans(), ops=st.lists(st.sampled_from([*sorted(OPS), "kill sender"]), max_size=120))
def test_no_number_is_used_twice_when_senders_die_too(live: bool, ops: list[str]) -> None:
    world = World(live)
    for op in ops:
        if op == "kill sender":
            world.kill_sender()
        else:
            OPS[op](world)
    world.tick(4 * S)
    world.settle()
    world.check()


@pytest.mark.parametrize("killing", [False, True])
@pytest.mark.parametrize("live", [False, True])
def test_long_walks_through_the_world_keep_the_account(live: bool, killing: bool) -> None:
    names = sorted(OPS) + ["two", "expose", "send all", "receive all", "hear all"] * 4
    for seed in range(120):
        chance = Random(seed)
        world = World(live)
        for _ in range(300):
            OPS[chance.choice(names)](world)
            if killing and chance.random() < 0.01:
                world.kill_sender()
        world.tick(4 * S)
        world.settle()
        world.check()
