"""What the light goes by, from the settings of the experiment, in pixels of the camera and frames."""

from __future__ import annotations

import math

import msgspec

from bridge.slm.feedback import Feedback, Mode, check_gain
from bridge.slm.safety import Limits
from bridge.slm.trajectory import greatest_speed
from engine.experiment import Experiment
from engine.physics.bead import Bead


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What of the settings the conductor goes by; lengths in pixels."""

    limits: Limits = Limits()
    feedback: Feedback = Feedback()
    greatest_step: float = 2.0
    clearance: float = 15.0
    farthest: float = 10.0
    settle_frames: int = 3
    reach: float = 0.0  # 0: not known
    dt_over_tau: float = 0.0  # 0: stiffness is not known
    delay: int = 2
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    picture: tuple[int, int] = (0, 0)  # width and height of a frame; 0: not known
    speed: float = math.inf  # of a trap that carries a bead, pixels a frame


def rules_of(e: Experiment) -> Rules:
    """Raises SettingsError for a gain that would oscillate."""
    slm, sample, pixel_um = e.slm, e.sample, e.camera.pixel_um
    bead = Bead(
        radius_um=sample.radius_um, temperature_K=sample.temperature_K, viscosity_mPas=sample.viscosity_mPas,
        height_um=sample.height_um,
    )  # fmt: skip
    ratio = slm.stiffness_pN_um / bead.drag / e.camera.fps
    speed = math.inf
    if slm.stiffness_pN_um and slm.reach_um:
        speed = greatest_speed(bead, slm.stiffness_pN_um, slm.reach_um) / pixel_um / e.camera.fps
    feedback = Feedback(
        mode=Mode(slm.feedback), gain=slm.gain, integral=slm.integral, greatest_step=slm.greatest_step,
        frames=slm.average_frames,
    )  # fmt: skip
    check_gain(feedback, ratio, slm.delay_frames)
    return Rules(
        limits=Limits(hold_s=slm.hold_s, blank_s=slm.blank_s, shadow=slm.shadow, greatest_power=slm.greatest_power),
        feedback=feedback, greatest_step=slm.greatest_step, clearance=slm.clearance, farthest=slm.farthest,
        settle_frames=slm.settle_frames, reach=slm.reach_um / pixel_um if slm.reach_um else 0.0, dt_over_tau=ratio,
        delay=slm.delay_frames, shift=(slm.shift_x, slm.shift_y, slm.shift_z), speed=speed,
        picture=(e.camera.width, e.camera.height),
    )  # fmt: skip


def limited_to(rules: Rules, feedback: Feedback) -> Rules:
    """One limit for every step of the light, whoever wants it."""
    return msgspec.structs.replace(rules, feedback=msgspec.structs.replace(feedback, greatest_step=rules.greatest_step))
