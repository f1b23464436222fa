"""Which feature continues which particle: trackpy's candidates, solved exactly for the least cost.

*Sources* are the particles known so far at their last positions, *targets* the features of the new frame. The
candidates of a target are its nearest sources within the search range, ten at most. A link costs the square of its
length, a source without a link the square of the search range, a target without a link nothing. A source and a target
that have only each other are always linked.

The sum over all sources is made least by shortest augmenting paths (Jonker and Volgenant, Computing 38, 325, 1987) on
the sparse graph of candidates: sources that do not compete cost one look, and a path never leaves its group of
connected points. There is no limit to a group's size. The edges looked at in one frame are bounded by `budget`: beyond
it, the sources that are left take their nearest free target, and each is counted.
"""

from __future__ import annotations

# mypy: allow-untyped-defs, allow-untyped-calls
import numpy as np

from engine.workers.compiled import kernel

CANDIDATES = 10  # of a target (trackpy.linking.Linker.MAX_NEIGHBORS)
ADAPTIVE_GROUP = 15  # sources (trackpy.linking.Linker.MAX_SUB_NET_SIZE_ADAPTIVE)
TOLERANCE = 1e-7  # a distance that equals the search range counts as within


@kernel
def find_candidates(
    source_y, source_x, sources, target_y, target_x, targets, reach, heads, follows, near, near_d2, near_n
):
    """Fill the candidates of every target, nearest first: near[t, :near_n[t]] and their squared distances."""
    for t in range(targets):
        near_n[t] = 0
    if sources == 0 or targets == 0:
        return
    low_y = high_y = source_y[0]
    low_x = high_x = source_x[0]
    for s in range(1, sources):
        low_y, high_y = min(low_y, source_y[s]), max(high_y, source_y[s])
        low_x, high_x = min(low_x, source_x[s]), max(high_x, source_x[s])
    cell = reach + TOLERANCE
    while ((high_y - low_y) / cell + 1.0) * ((high_x - low_x) / cell + 1.0) > heads.size:
        cell *= 2.0
    cells_x = int((high_x - low_x) / cell) + 1
    cells_y = int((high_y - low_y) / cell) + 1
    for i in range(cells_x * cells_y):
        heads[i] = -1
    for s in range(sources - 1, -1, -1):
        at = int((source_y[s] - low_y) / cell) * cells_x + int((source_x[s] - low_x) / cell)
        follows[s] = heads[at]
        heads[at] = s
    limit = (reach + TOLERANCE) * (reach + TOLERANCE)
    for t in range(targets):
        y, x = target_y[t], target_x[t]
        grid_y, grid_x = np.floor((y - low_y) / cell), np.floor((x - low_x) / cell)
        if not (grid_y >= -1.0 and grid_x >= -1.0 and grid_y <= cells_y and grid_x <= cells_x):
            continue
        cy, cx = int(grid_y), int(grid_x)
        for gy in range(max(cy - 1, 0), min(cy + 2, cells_y)):
            for gx in range(max(cx - 1, 0), min(cx + 2, cells_x)):
                s = heads[gy * cells_x + gx]
                while s >= 0:
                    dy, dx = source_y[s] - y, source_x[s] - x
                    d2 = dy * dy + dx * dx
                    if d2 < limit:
                        _insert(near[t], near_d2[t], near_n, t, s, d2)
                    s = follows[s]


@kernel
def _insert(near, near_d2, near_n, t, s, d2):
    """Keep the nearest candidates in order; of equal ones the one with the lower number comes first."""
    count = near_n[t]
    if count == CANDIDATES:
        last = count - 1
        if d2 > near_d2[last] or (d2 == near_d2[last] and s > near[last]):
            return
        count -= 1
    i = count
    while i > 0 and (near_d2[i - 1] > d2 or (near_d2[i - 1] == d2 and near[i - 1] > s)):
        near[i], near_d2[i] = near[i - 1], near_d2[i - 1]
        i -= 1
    near[i], near_d2[i] = s, d2
    near_n[t] = count + 1


@kernel
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def narrow(sources, targets, near, near_d2, near_n, reach, stop, step, parent, size, no_link):
    """Search ranges that fit how dense it is: no_link[s] becomes the square of that of source s.

    While more than ADAPTIVE_GROUP sources are connected by their candidates, their range is made smaller by the factor
    `step`, until it is at most `stop`; candidates beyond it are struck out (trackpy.linking.adaptive_link_wrap). A stop
    of 0: all keep `reach`. Work space: parent, for sources and targets; size, for sources.
    """
    for s in range(sources):
        no_link[s] = reach * reach
    current = reach
    while stop > 0 and current > stop:
        for i in range(sources + targets):
            parent[i] = i
        for t in range(targets):
            for k in range(near_n[t]):
                s = near[t, k]
                if no_link[s] == current * current:
                    parent[_root(parent, s)] = _root(parent, sources + t)
        for i in range(sources + targets):
            size[i] = 0
        for s in range(sources):
            size[_root(parent, s)] += 1
        narrower = current * step
        struck = False
        for s in range(sources):
            if no_link[s] == current * current and size[_root(parent, s)] > ADAPTIVE_GROUP:
                no_link[s] = narrower * narrower
                struck = True
        if not struck:
            break
        for t in range(targets):
            kept = 0
            for k in range(near_n[t]):
                if near_d2[t, k] <= no_link[near[t, k]] or no_link[near[t, k]] == reach * reach:
                    near[t, kept], near_d2[t, kept] = near[t, k], near_d2[t, k]
                    kept += 1
            near_n[t] = kept
        current = narrower


@kernel
def _edges_by_source(sources, targets, near, near_d2, near_n, firsts, edge_target, edge_cost):
    """List the candidates from the sources' side: those of s are edges firsts[s] to firsts[s + 1]."""
    for s in range(sources + 2):
        firsts[s] = 0
    for t in range(targets):
        for k in range(near_n[t]):
            firsts[near[t, k] + 2] += 1
    for s in range(sources):
        firsts[s + 2] += firsts[s + 1]
    for t in range(targets):
        for k in range(near_n[t]):
            at = firsts[near[t, k] + 1]
            edge_target[at], edge_cost[at] = t, near_d2[t, k]
            firsts[near[t, k] + 1] = at + 1


@kernel
def _push(heap_cost, heap_item, size, cost, item):
    i = size
    while i > 0:
        up = (i - 1) // 2
        if heap_cost[up] < cost or (heap_cost[up] == cost and heap_item[up] <= item):
            break
        heap_cost[i], heap_item[i] = heap_cost[up], heap_item[up]
        i = up
    heap_cost[i], heap_item[i] = cost, item
    return size + 1


@kernel
def _pop(heap_cost, heap_item, size):
    """Take the first of the heap away; its last moves to where it belongs."""
    size -= 1
    cost, item = heap_cost[size], heap_item[size]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            heap_cost[right] < heap_cost[child]
            or (heap_cost[right] == heap_cost[child] and heap_item[right] < heap_item[child])
        ):
            child = right
        if cost < heap_cost[child] or (cost == heap_cost[child] and item <= heap_item[child]):
            break
        heap_cost[i], heap_item[i] = heap_cost[child], heap_item[child]
        i = child
    heap_cost[i], heap_item[i] = cost, item
    return size


@kernel
def _augment(
    source, no_link, firsts, edge_target, edge_cost, owner, link, price, distance, via, stamp, round_, done, heap_cost,
    heap_item,
):  # fmt: skip
    """Give one more source its place by the cheapest chain of changes; return the edges looked at."""
    looked = 0
    scanned = 0
    size = 0
    best_none, none_at = np.inf, -1  # cheapest way to end with some source unlinked
    end = -1
    current, base = source, 0.0
    while True:
        # What giving up its target saves; nothing, for the new source.
        held = 0.0
        if link[current] >= 0:
            for e in range(firsts[current], firsts[current + 1]):
                if edge_target[e] == link[current]:
                    held = edge_cost[e] - price[link[current]]
        if base + no_link[current] - held < best_none:
            best_none, none_at = base + no_link[current] - held, current
        for e in range(firsts[current], firsts[current + 1]):
            target = edge_target[e]
            looked += 1
            way = base + edge_cost[e] - price[target] - held
            if done[target] != round_ and (stamp[target] != round_ or way < distance[target]):
                stamp[target] = round_
                distance[target] = way
                via[target] = current
                size = _push(heap_cost, heap_item, size, way, target)
        # The nearest target that is not done yet.
        while size > 0 and done[heap_item[0]] == round_:
            size = _pop(heap_cost, heap_item, size)
        if size == 0 or heap_cost[0] > best_none:
            break
        target, base = heap_item[0], heap_cost[0]
        size = _pop(heap_cost, heap_item, size)
        done[target] = round_
        if owner[target] < 0:
            end = target
            break
        heap_item[heap_item.size - 1 - scanned] = target  # remembered at the far end, for its price
        scanned += 1
        current = owner[target]
    least = base if end >= 0 else best_none
    for k in range(scanned):
        target = heap_item[heap_item.size - 1 - k]
        price[target] += distance[target] - least
    if end < 0:
        # none_at gives up its target, which goes to the source it was reached from, and so on.
        end = link[none_at]
        link[none_at] = -1
    while end >= 0:
        taker = via[end]
        before = link[taker]
        owner[end] = taker
        link[taker] = end
        end = before
    return looked


@kernel
def assign(
    sources, targets, near, near_d2, near_n, no_link, budget, firsts, edge_target, edge_cost, owner, link, price,
    distance, via, stamp, done, heap_cost, heap_item, told,
):  # fmt: skip
    """Link at least cost: owner[t] becomes the source of target t, or -1; link[s] the target of source s.

    no_link[s] is what source s costs without a link. told[0] becomes the number of edges looked at, told[1] the sources
    linked without search for want of budget.
    """
    _edges_by_source(sources, targets, near, near_d2, near_n, firsts, edge_target, edge_cost)
    for t in range(targets):
        owner[t], price[t], stamp[t], done[t] = -1, 0.0, -1, -1
    told[0] = 0
    told[1] = 0
    # Everybody takes the best; who finds it taken waits.
    for s in range(sources):
        link[s] = -1
        best, best_cost = -1, np.inf
        for e in range(firsts[s], firsts[s + 1]):
            if edge_cost[e] < best_cost:
                best, best_cost = edge_target[e], edge_cost[e]
        alone = firsts[s + 1] - firsts[s] == 1 and near_n[best] == 1
        if best >= 0 and (best_cost <= no_link[s] or alone):
            if owner[best] < 0:
                owner[best] = s
                link[s] = best
            else:
                link[s] = -2
    for s in range(sources):
        if link[s] == -2:
            link[s] = -1
            if told[0] < budget:
                told[0] += _augment(
                    s, no_link, firsts, edge_target, edge_cost, owner, link, price, distance, via, stamp, s, done,
                    heap_cost, heap_item,
                )  # fmt: skip
            else:
                told[1] += 1
                best, best_cost = -1, no_link[s]
                for e in range(firsts[s], firsts[s + 1]):
                    if owner[edge_target[e]] < 0 and edge_cost[e] <= best_cost:
                        best, best_cost = edge_target[e], edge_cost[e]
                if best >= 0:
                    owner[best] = s
                    link[s] = best
