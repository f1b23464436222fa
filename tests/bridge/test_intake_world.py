"""The receiver's decisions in a world where everything that can go wrong does: the account is right in the end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.intake import Again, Busy, Duplicate, Intake, Known, Lost, Settle
from bridge.outbox import ByeDue, HelloDue, Outbox
from bridge.wire import Answer, Bye, FrameHeader, Hello, Verdict
from engine.accounting import Cause, Step

S = 1_000_000_000


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
            header = FrameHeader(
                stream=stream.id, previous=stream.previous, first=stream.first, counter=kept.counter, after=kept.after,
                gave_up=stream.gave_up_before(kept.counter), shape=(4, 4), dtype="uint8", t_sent_ns=t,
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

    def write_losses(self, losses: tuple[Lost, ...], writes: Iterator[int]) -> None:
        for one in losses:
            if next(writes, None) is None:
                raise KilledError
            self.disk.ledger.append(one)
            self.intake.commit_lost(one)

    def decide(self, message: object, verdict: Verdict, writes: Iterator[int]) -> Answer:
        def answer(verdict: Verdict, stream: int, t: int, counter: int = -1, next_: int = -1) -> Answer:
            if next(writes, None) is None:
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
        if next(writes, None) is None:
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
