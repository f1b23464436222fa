"""Send the frames of a Micro-Manager camera: pip install pymmcore-plus beside ringtrack, `mmcore install`.

python camera_pymmcore.py tcp://192.168.1.20:50052 100
"""

import sys
import time

from pymmcore_plus import CMMCorePlus

from bridge import Sender

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:50052"
frames = int(sys.argv[2]) if len(sys.argv) > 2 else 1000

core = CMMCorePlus.instance()
core.loadSystemConfiguration()  # the demo camera; put the file of your own microscope here
core.setExposure(10)
with Sender(address, source=core.getCameraDevice()) as sender:
    core.startSequenceAcquisition(frames, 0, True)  # number of images, interval (ms), stop when the buffer is full
    while core.isSequenceRunning() or core.getRemainingImageCount() > 0:
        if core.getRemainingImageCount() == 0:
            time.sleep(0.001)
            continue
        image, about = core.popNextImageAndMD()
        sender.send(image, counter=int(about["ImageNumber"]), exposure_us=1000 * core.getExposure())
    account = sender.close()
print(f"{account.taken} of {account.offered} frames taken; lost: {account.lost} {account.trouble}")
