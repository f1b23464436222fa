"""Send the frames of a Hamamatsu camera (DCAM): pip install pylablib beside ringtrack, and Hamamatsu's DCAM-API.

python camera_dcam_pylablib.py tcp://192.168.1.20:50052
"""

import sys

from pylablib.devices import DCAM

from bridge import Sender
from engine.clocks import monotonic_ns
from engine.frames import TimeSource

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:50052"

with DCAM.DCAMCamera() as camera, Sender(address, source="Hamamatsu DCAM") as sender:
    camera.set_exposure(0.010)  # seconds
    camera.setup_acquisition(mode="sequence", nframes=200)  # frames that the driver keeps for us
    camera.start_acquisition()
    to_ours = None  # the camera counts its time from a zero of its own
    while True:  # until Ctrl-C: leaving the block says bye
        camera.wait_for_frame(timeout=10)
        images, infos = camera.read_multiple_images(return_info=True)  # all that came since the last time
        now = monotonic_ns()
        for image, info in zip(images, infos):
            t_ns = 1_000_000_000 * int(info.timestamp_s) + 1000 * int(info.timestamp_us)
            to_ours = now - t_ns if to_ours is None else min(to_ours, now - t_ns)  # no frame comes before it was taken
            sender.send(image, counter=info.frame_index, t_ns=t_ns + to_ours, time_source=TimeSource.HARDWARE)
