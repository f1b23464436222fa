"""What a frame says about itself: the record in front of its pixels in the frame ring.

The receiver writes it, once, before it publishes the slot; everybody else reads. All times are nanoseconds of
CLOCK_MONOTONIC of the tracking machine unless the name says otherwise.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Kind(IntEnum):
    """What lies in a place of the ring."""

    FRAME = 0
    CLOSING = 1  # the end of the run: no pixels, no number, the last place there is


class TimeSource(IntEnum):
    """Where a frame's camera time came from, best first."""

    HARDWARE = 0  # the camera's or the trigger's own clock
    HEADER = 1  # given by the program that sent it (a stack's frame n has n / fps)
    FILE = 2  # the file's time, fitted against the camera frame counter
    ARRIVAL = 3  # none was given: when it reached the receiver


FILE_NAME_BYTES = 120
EXTRA_BYTES = 512

FRAME_META = np.dtype(
    [
        ("frame", "<i8"),  # frame number: never reused, proportional to time; -1 in the closing place
        ("counter", "<i8"),  # the camera's (or the file's) own count
        ("sequence", "<i8"),  # stretch of frames with one camera counter, from 0
        ("stream", "<i8"),  # random, one for each start of a sender
        ("ledger", "<i8"),  # records of the loss ledger that were written before this frame
        ("t_source_ns", "<i8"),  # camera time on the source's own clock (a stack: n / fps); velocities use this
        ("t_camera_ns", "<i8"),  # the same on our clock
        ("t_camera_error_ns", "<i8"),  # how sure: half width of the interval that holds the true time
        ("t_sent_ns", "<i8"),  # on our clock
        ("t_received_ns", "<i8"),  # the last byte was in the ring
        ("trigger", "<i8"),  # trigger counter, -1 if the source has none
        ("checksum", "<u8"),  # xxh3-64 of the raw pixels, 0 if none was sent
        ("exposure_us", "<f8"),  # NaN if not given
        ("gain", "<f8"),  # NaN if not given
        ("kind", "<i4"),  # Kind
        ("time_source", "<i4"),  # TimeSource
        ("settings", "<i4"),  # version of the settings that every step of this frame uses
        ("bits", "<i4"),  # significant bits of a pixel
        ("high_aligned", "<i4"),  # 1 if they are the upper ones
        ("region_y", "<i4"),  # of the top-left pixel on the sensor
        ("region_x", "<i4"),
        ("binning", "<i4"),
        ("live", "<i4"),  # 1 if the source does not wait (a camera), 0 if it is held back (a stack)
        ("extra_bytes", "<i4"),  # used bytes of extra
        ("file_name", f"S{FILE_NAME_BYTES}"),  # as the camera software called it, no folder; UTF-8
        ("extra", f"S{EXTRA_BYTES}"),  # free metadata of the source, msgpack
    ],
    align=True,
)
