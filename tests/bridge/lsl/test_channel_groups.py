"""Groups of channels: whatever comes and goes, a particle never moves and never shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.lsl.groups import ChannelGroups

frames = st.lists(st.sets(st.integers(0, 9), max_size=8), min_size=1, max_size=40)


@given(frames, st.integers(1, 5), st.integers(0, 3), st.integers(0, 4))
def test_a_particle_keeps_its_group_shares_it_with_nobody_and_leaves_it_to_rest(history, count, memory, rest):
    groups = ChannelGroups(count, memory=memory, rest=rest)
    last: dict[int, tuple[int, int]] = {}  # group: who was last seen in it, and when
    lost_at: dict[int, int] = {}
    for frame, present in enumerate(history):
        ids = sorted(present)
        given_, changes = groups.assign(ids, frame)
        for kind, _, group in changes:
            if kind == "lost":
                lost_at[group] = frame
        used = [g for g in given_ if g >= 0]
        assert len(set(used)) == len(used)
        assert all(-1 <= g < count for g in given_)
        for particle, group in zip(ids, given_):
            if group < 0:
                continue
            before = last.get(group)
            if before is not None and before[0] != particle:
                assert group in lost_at
                assert frame - lost_at[group] >= rest
            last[group] = (particle, frame)
        if len(ids) > len(used):
            resting = {g for g, at in lost_at.items() if frame - at < rest and groups_of(groups, g, range(10)) is None}
            held = {g for g in range(count) if groups_of(groups, g, range(10)) is not None}
            assert resting | held == set(range(count)), "overflow although a group was free"


def groups_of(groups: ChannelGroups, group: int, particles: range) -> int | None:
    return next((p for p in particles if groups.group_of(p) == group), None)


@given(frames, st.integers(0, 9))
def test_changes_tell_the_whole_story(history, chosen):
    groups = ChannelGroups(4, memory=1, rest=2, reserved=2)
    groups.choose(chosen, 1)
    told: dict[int, int] = {}
    for frame, present in enumerate(history):
        given_, changes = groups.assign(sorted(present), frame)
        for kind, particle, group in changes:
            if kind == "given":
                assert group not in told.values()
                told[particle] = group
            else:
                assert told.pop(particle) == group
        assert [told.get(p, -1) for p in sorted(present)] == given_
        assert all(group >= 2 or particle == chosen for particle, group in told.items())


def test_a_particle_that_blinks_keeps_its_group_and_one_that_is_gone_does_not():
    groups = ChannelGroups(2, memory=2, rest=0)
    assert groups.assign([7], 0)[0] == [0]
    groups.assign([], 2)
    assert groups.assign([7], 2)[0] == [0]
    assert [c.kind for c in groups.assign([], 5)[1]] == ["lost"]


def test_a_chosen_particle_moves_to_its_reserved_group_at_once():
    groups = ChannelGroups(3, reserved=1, rest=5)
    assert groups.assign([4, 5, 6], 0)[0] == [1, 2, -1]
    groups.choose(5, 0)
    given_, changes = groups.assign([4, 5, 6], 1)
    assert given_ == [1, 0, -1]
    assert [(c.kind, c.particle, c.group) for c in changes] == [("lost", 5, 2), ("given", 5, 0)]


def test_nobody_is_chosen_for_a_group_that_is_not_reserved():
    with pytest.raises(ValueError, match="reserved ones are 0 to 0"):
        ChannelGroups(3, reserved=1).choose(5, 1)
