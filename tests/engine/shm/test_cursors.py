"""Readers and the writer's patience with them: gaps to the number, times from an injected clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from engine.shm.cursors import CursorTable, FollowingReader, Gap, LiveReader, LosslessReader
from engine.shm.frame_ring import Blocked, Claim, FrameWriter
from engine.shm.ring import OverrunError, Ring, RingLayout
from engine.shm.steps import run
from engine.shm.units import OldestUnfinished, UnitLayout, Units
from tests.engine.shm.shm_model_memory import Memory

SLOTS = 8
HOLD_S = 3.0
NUMBER = np.dtype([("n", "<i8")])


@dataclass
class Camera:
    """A frame ring with its writer, trackers that are never late, and a clock to turn."""

    live: bool = True
    slots: int = SLOTS
    now: float = 0.0
    tracking: bool = True
    let_go_at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        layout = RingLayout(self.slots, NUMBER, np.dtype("<i8"), (2,))
        results = RingLayout(4 * self.slots, NUMBER, np.dtype("<i8"), (2,))
        units = UnitLayout(2, (1,))
        self.frames = Ring(Memory(layout.bytes), layout)
        self.results = Ring(Memory(results.bytes), results)
        self.units = Units(Memory(units.bytes), 0, units)
        self.cursors = CursorTable(self.frames)
        self.oldest = OldestUnfinished(self.units, 0)
        self.writer = FrameWriter(self.frames, self.results, self.units, HOLD_S, lambda: self.now)

    def tick(self, seconds: float = 0.1, write: bool = True) -> Claim | Blocked | None:
        """Time goes on; one frame is written, if there is room, and tracked."""
        self.now += seconds
        if not write:
            return None
        let_go = self.writer.hold.let_go
        claimed = self.writer.claim(0, self.live)
        self.let_go_at += [round(self.now, 3)] * (self.writer.hold.let_go - let_go)
        if isinstance(claimed, Claim):
            claimed.meta["n"] = claimed.pixels[:] = claimed.place
            self.writer.publish(claimed)
            if self.tracking:
                self.track()
        return claimed

    def track(self) -> None:
        newest = self.frames.newest
        while (unit := run(self.units.claim(self.oldest.look(newest), newest, 0, 0))) is not None:
            run(self.units.done(unit, lambda: newest))
            self.results.publish(unit.place, "link")

    def write(self, count: int) -> None:
        for _ in range(count):
            assert isinstance(self.tick(0.001), Claim)


def take_all(reader: LosslessReader | FollowingReader) -> list[int | Gap]:
    found = []
    while (place := reader.next(0)) is not None:
        found.append(place)
    return found


# ---- hold_s

Reading = Callable[[Camera, LosslessReader, int], None]


def never(camera: Camera, reader: LosslessReader, tick: int) -> None:
    """It stopped for good before the first frame."""


def every_third(camera: Camera, reader: LosslessReader, tick: int) -> None:
    """It finishes one place in the time of three frames."""
    if tick % 3 == 0 and isinstance(place := reader.next(0), int):
        reader.done(place)


def at_once(camera: Camera, reader: LosslessReader, tick: int) -> None:
    for place in take_all(reader):
        assert isinstance(place, int)
        reader.done(place)


def stops_after_1_s(camera: Camera, reader: LosslessReader, tick: int) -> None:
    if tick <= 10:
        at_once(camera, reader, tick)


def stops_from_1_to_3_s(camera: Camera, reader: LosslessReader, tick: int) -> None:
    if not 10 < tick <= 30:
        at_once(camera, reader, tick)


def flushes_each_half_second(camera: Camera, reader: LosslessReader, tick: int) -> None:
    if tick % 5 == 0:
        at_once(camera, reader, tick)


# A frame each 0.1 s, eight slots: full after 0.8 s without a reader.
PATIENCE: dict[str, tuple[Reading, list[float]]] = {
    "keeps up": (at_once, []),
    "flushes each half second": (flushes_each_half_second, []),
    "stopped for good before the first frame": (never, [3.1]),
    "stopped for good after a second": (stops_after_1_s, [4.1]),
    "stopped for two seconds": (stops_from_1_to_3_s, []),
    "moves, but slower than the camera": (every_third, [4.2]),
}


@pytest.mark.parametrize(("reading", "let_go_at"), PATIENCE.values(), ids=list(PATIENCE))
def test_a_reader_is_let_go_when_its_patience_is_spent_and_not_before(reading: Reading, let_go_at: list[float]) -> None:
    camera = Camera()
    camera.cursors.expect(0)
    reader = LosslessReader(camera.frames, 0)
    for tick in range(1, 56):
        camera.tick()
        reading(camera, reader, tick)
    assert camera.let_go_at[:1] == let_go_at


def test_an_idle_hour_is_not_held_against_a_reader() -> None:
    camera = Camera()
    camera.cursors.expect(0)
    reader = LosslessReader(camera.frames, 0)
    camera.write(3)
    at_once(camera, reader, 0)
    camera.tick(3600, write=False)
    camera.write(SLOTS)  # a burst, faster than anybody reads
    assert camera.tick(0.1) is Blocked.READERS
    assert camera.tick(1.0) is Blocked.READERS
    assert not camera.let_go_at
    at_once(camera, reader, 0)
    camera.write(1)


def test_a_full_moment_long_ago_is_not_held_against_a_reader() -> None:
    camera = Camera()
    camera.cursors.expect(0)
    reader = LosslessReader(camera.frames, 0)
    camera.write(SLOTS)
    assert camera.tick(0.1) is Blocked.READERS
    for _ in range(100):  # it stays three quarters of the ring behind from here on, and moves
        place = reader.next(0)
        assert isinstance(place, int)
        reader.done(place)
        if camera.frames.newest - place > 6:
            continue
        assert isinstance(camera.tick(0.2), Claim)
    camera.write(1)
    assert camera.tick(0.1) is Blocked.READERS
    assert not camera.let_go_at


def test_a_finite_source_waits_for_its_readers_for_ever() -> None:
    camera = Camera(live=False)
    camera.cursors.expect(0)
    camera.write(SLOTS)
    for _ in range(10):
        assert camera.tick(3600) is Blocked.READERS
    assert camera.writer.hold.let_go == 0
    camera.cursors.expect(0, False)  # the supervisor gives the reader up
    camera.write(1)


def test_a_reader_that_was_let_go_hears_of_its_gap_and_is_waited_for_again_when_it_has_caught_up() -> None:
    camera = Camera()
    camera.cursors.expect(0)
    reader = LosslessReader(camera.frames, 0)
    for _ in range(60):
        camera.tick()
    newest = camera.frames.newest
    assert camera.cursors.is_let_go(0)
    found = take_all(reader)
    gap = found[0]
    assert isinstance(gap, Gap)
    assert gap == Gap(0, newest - SLOTS // 2 - 1)
    assert found[1:] == list(range(gap.last + 1, newest + 1))
    assert reader.lost == gap.count
    assert camera.cursors.is_let_go(0), "what it read is not safe yet"
    assert isinstance(camera.tick(), Claim)
    assert camera.let_go_at == [3.1], "it is let go once, not again before its first flush"
    reader.done(newest)
    assert reader.next(0) == newest + 1
    assert not camera.cursors.is_let_go(0)


def test_only_the_reader_that_holds_the_ring_is_let_go() -> None:
    camera = Camera()
    for number in range(3):
        camera.cursors.expect(number)
    readers = [LosslessReader(camera.frames, number) for number in (0, 2)]
    for _ in range(60):
        camera.tick()
        for reader in readers:
            at_once(camera, reader, 0)
    assert [camera.cursors.is_let_go(number) for number in range(3)] == [False, True, False]
    assert [reader.lost for reader in readers] == [0, 0]


# ---- gaps

READERS: dict[str, Callable[[Ring], LosslessReader | FollowingReader]] = {
    "lossless, let go": lambda ring: LosslessReader(ring, 5),  # nobody expects it: nobody waits
    "following": FollowingReader,
}


@pytest.mark.parametrize("make", READERS.values(), ids=list(READERS))
def test_a_reader_overrun_twice_hears_of_both_gaps(make: Callable[[Ring], LosslessReader | FollowingReader]) -> None:
    camera = Camera()
    reader = make(camera.frames)
    camera.write(20)
    assert reader.next(0) == Gap(0, 14)
    assert reader.next(0) == 15
    camera.write(20)
    assert reader.next(0) == Gap(16, 34)
    assert take_all(reader) == [35, 36, 37, 38, 39]
    assert reader.lost == 15 + 19


@pytest.mark.parametrize("make", READERS.values(), ids=list(READERS))
@pytest.mark.parametrize("behind", range(1, 3 * SLOTS))
def test_gaps_and_places_together_are_every_place_once(
    make: Callable[[Ring], LosslessReader | FollowingReader], behind: int
) -> None:
    camera = Camera()
    reader = make(camera.frames)
    camera.write(behind)
    found = take_all(reader)
    places: list[int] = []
    for item in found:
        places += range(item.first, item.last + 1) if isinstance(item, Gap) else [item]
    assert places == list(range(behind))
    assert (reader.lost == 0) == (behind <= SLOTS)


def look(camera: Camera, place: int, error: Exception | None = None) -> None:
    """Look at a place, while the writer comes round to its slot."""
    with camera.frames.view(place) as entry:
        camera.write(SLOTS)
        assert entry.data[0] == place + SLOTS
        if error is not None:
            raise error


@pytest.mark.parametrize("make", READERS.values(), ids=list(READERS))
def test_a_place_overwritten_while_it_is_looked_at_says_so(
    make: Callable[[Ring], LosslessReader | FollowingReader],
) -> None:
    camera = Camera()
    reader = make(camera.frames)
    camera.write(1)
    place = reader.next(0)
    assert isinstance(place, int)
    with pytest.raises(OverrunError, match="place 0 was overwritten"):
        look(camera, place)
    assert reader.overrun(place) == Gap(0, 0)
    assert reader.lost == 1
    with pytest.raises(OverrunError), camera.frames.view(place):
        pytest.fail("it was gone before")


def test_an_error_over_a_slot_that_went_is_an_overrun() -> None:
    camera = Camera()
    camera.write(1)
    error = ValueError("the rows make no sense")
    with pytest.raises(OverrunError):
        look(camera, 0, error)
    with pytest.raises(ValueError, match="no sense"), camera.frames.view(camera.frames.newest):
        raise error


def test_views_cannot_be_written_to() -> None:
    camera = Camera()
    camera.write(1)
    with camera.frames.view(0) as entry, pytest.raises(ValueError, match="read-only"):
        entry.data[0] = 1


def test_a_reader_that_starts_again_goes_on_after_what_was_safe() -> None:
    camera = Camera()
    camera.cursors.expect(0)
    camera.write(5)
    reader = LosslessReader(camera.frames, 0)
    assert take_all(reader) == [0, 1, 2, 3, 4]
    reader.done(2)
    assert take_all(LosslessReader(camera.frames, 0)) == [3, 4]
    reader.done(1)  # never backwards
    assert camera.cursors.cursor(0) == 2


def test_a_live_reader_takes_the_newest_and_counts_what_it_passed_over() -> None:
    camera = Camera()
    camera.write(2)
    reader = LiveReader(camera.frames)
    assert reader.next(0) is None, "what was there before it came is not news"
    camera.write(1)
    assert reader.next(0) == 2
    camera.write(30)
    assert reader.next(0) == 32
    assert reader.passed_over == 29
    assert reader.next(0) is None


def test_the_writer_never_waits_for_live_and_following_readers() -> None:
    camera = Camera()
    sleepers = [LiveReader(camera.frames), FollowingReader(camera.frames)]
    camera.write(1)
    for reader in sleepers:
        assert reader.next(0) == 0
    camera.write(10 * SLOTS)
    hold = camera.writer.hold
    assert (hold.readers_ns, hold.trackers_ns, hold.let_go) == (0, 0, 0)


def test_waiting_is_counted_for_whom_it_was() -> None:
    camera = Camera(live=False)
    camera.cursors.expect(0)
    camera.write(SLOTS)
    assert camera.writer.claim(0.02, False) is Blocked.READERS
    assert camera.writer.hold.readers_ns >= 19e6
    assert camera.writer.hold.trackers_ns == 0

    camera = Camera(live=False)
    camera.tracking = False
    camera.write(SLOTS)
    beats: list[int] = []
    assert camera.writer.claim(0.02, False, lambda: beats.append(1)) is Blocked.TRACKERS
    assert camera.writer.hold.trackers_ns >= 19e6
    assert camera.writer.hold.readers_ns == 0
    assert beats


def test_a_live_source_does_not_wait_for_trackers() -> None:
    camera = Camera()
    camera.tracking = False
    camera.write(SLOTS)
    assert camera.writer.claim(30, True) is Blocked.TRACKERS
    assert camera.writer.hold.trackers_ns == 0
    assert camera.writer.depth() == SLOTS


def test_a_ring_has_room_for_32_lossless_readers() -> None:
    camera = Camera()
    for number in range(32):
        camera.cursors.expect(number)
    assert camera.cursors.readers() == list(range(32))
    with pytest.raises(ValueError, match="room for 32"):
        camera.cursors.expect(32)
