"""What the log says of a ring that is full."""

from __future__ import annotations

from bridge.drops import QUIET_NS, Drops


def test_a_stretch_of_lost_frames_is_two_lines_and_the_next_begins_when_it_was_quiet() -> None:
    said: list[tuple[int, str, str]] = []
    now = [0]
    drops = Drops(lambda level, text: said.append((now[0], level, text)), lambda: now[0])
    drops.look()
    assert said == []
    for frame in range(16, 316, 2):  # every other one, for a second and a half
        drops.dropped(frame)
        drops.look()
        now[0] += QUIET_NS // 100
    assert said == [(0, "warning", "the ring is full, tracking is behind: frames are lost from number 16 on")]
    now[0] += QUIET_NS
    drops.look()
    drops.look()
    assert said[1:] == [(now[0], "warning", "the ring was full: frames lost: 150, of numbers 16 to 314")]
    drops.dropped(400)
    drops.close()
    drops.close()
    assert [text for _, _, text in said[2:]] == [
        "the ring is full, tracking is behind: frames are lost from number 400 on",
        "the ring was full: frames lost: 1, of numbers 400 to 400",
    ]


def test_a_stretch_that_is_over_is_told_of_before_the_next_is() -> None:
    said: list[str] = []
    now = [0]
    drops = Drops(lambda level, text: said.append(text), lambda: now[0])
    drops.dropped(1)
    now[0] = QUIET_NS
    drops.dropped(90)  # nobody looked meanwhile
    assert [text.partition(":")[0] for text in said] == [
        "the ring is full, tracking is behind",
        "the ring was full",
        "the ring is full, tracking is behind",
    ]
