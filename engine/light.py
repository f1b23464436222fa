"""What is kept of every command to the light: one row a trap and command, as `/slm` in the file of a run.

The process of the light appends rows to `slm/PART.rows` in the run's folder, one write a command, so that a kill loses
at most the command in work; the recorder puts the parts together at the end (`recorders.slm`).
"""

from __future__ import annotations

import numpy as np

FOLDER = "slm"

SLM_ROW = np.dtype(
    [
        ("frame", "<i8"),  # whose particles caused the command
        ("t_camera_ns", "<i8"),  # of that frame
        ("t_command_ns", "<i8"),  # the display had it (shown = 1), or it was computed (shown = 0)
        ("age_ns", "<i8"),  # t_command_ns - t_camera_ns
        ("command", "<i8"),  # count of commands of this process
        ("trap", "<i4"),
        ("shown", "<i4"),  # 1: it went to the display
        ("particle", "<i8"),  # that the trap holds or last held; -1: none yet
        ("held", "<i4"),  # 1: that particle was seen in this frame
        ("x", "<f8"),  # where it was seen, pixels; NaN: it was not
        ("y", "<f8"),
        ("target_x", "<f8"),  # where it shall be, pixels
        ("target_y", "<f8"),
        ("light_x", "<f8"),  # where the light is sent, pixels
        ("light_y", "<f8"),
        ("z", "<f8"),
        ("intensity", "<f8"),
        ("state", "S12"),  # of the light: unarmed, showing, holding, blank
    ]
)
