"""Shared memory and nothing else: segments, atomic words, wake-ups, rings, units of work, status blocks.

Nothing here knows what a particle or an experiment is. The order to read: `segment`, `atomics`, `wakeup`, `steps`,
then `ring` (the protocol), `frame_ring`, `result_ring`, `cursors`, `units`, and last `ledger` and `status`.
"""
