"""Plot the particle in channel group 0 while it moves: `python lsl_receive.py NAME` (needs pylsl, matplotlib)."""

import sys
from collections import deque

import matplotlib.pyplot as plt
import pylsl

name = (sys.argv[1] if len(sys.argv) > 1 else "run") + "_particles"
found = pylsl.resolve_byprop("name", name, timeout=10)
if not found:
    sys.exit(f"no stream {name}: is a run going on, with lsl.enabled?")
inlet = pylsl.StreamInlet(found[0])
labels = inlet.info().get_channel_labels()
x, y = labels.index("P0_x"), labels.index("P0_y")
path = deque(maxlen=500)
last = None
(line,) = plt.plot([], [])
while plt.get_fignums():
    samples, stamps = inlet.pull_chunk(timeout=0.05)
    for sample in samples:
        if last is not None and sample[0] > last + 1:
            print(f"frames {last + 1:.0f} to {sample[0] - 1:.0f} are not in the stream")
        last = sample[0]
        path.append((sample[x], sample[y]))  # NaN where there is no particle: the line has a gap there
    if path:
        line.set_data(*zip(*path))
        plt.gca().relim()
        plt.gca().autoscale_view()
    plt.pause(0.03)
