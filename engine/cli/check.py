"""`ringtrack check`: what a settings file means on this machine, before a frame is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli import output
from engine.cli.figures import Figures


@click.command()
@click.argument("path", type=click.Path(path_type=Path), required=False)
@output.settings_options
@click.option("--toml", is_flag=True, help="Write the resolved settings file, with every key, instead.")
@output.json_option
def command(path: Path | None, overrides: tuple[str, ...], toml: bool, as_json: bool) -> None:
    """Say what the settings file PATH means here: memory, data rates, disk, cores, and what is missing.

    Without PATH: our defaults. All faults of the file are told at once (exit status 2).
    """
    from engine.experiment import Experiment

    experiment = Experiment.load(path, overrides)
    if toml:
        output.result(experiment.to_toml().rstrip("\n"))
        return
    figures = Figures.of(experiment)
    if as_json:
        output.result_json(figures.as_dict() | {"settings": _sections(experiment)})
    else:
        output.result(_said(figures))
    for warning in figures.warnings:
        output.talk(f"warning: {warning}")


def _sections(experiment: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(experiment)
    return plain


def _said(f: Figures) -> str:
    e = f.experiment
    camera, tracking = e.camera, e.tracking
    rows = [
        (
            "frames",
            f"{camera.width} x {camera.height} {camera.dtype}, {camera.bits} bits (saturated at {camera.saturation}), "
            f"{camera.fps:g} a second: {f.camera_mb_s:.1f} MB/s",
        ),
        (
            "frame ring",
            f"{f.ring_slots} slots, {f.ring_bytes / 2**20:.0f} MiB: {f.ring_seconds:.2f} s"
            + (f" (not {e.ring.seconds:g}: a quarter of the free memory)" if f.ring_is_cut else ""),
        ),
        (
            "result ring",
            f"{f.result_slots} entries of at most {e.ring.max_particles} particles, "
            f"{f.result_bytes / 2**20:.0f} MiB: {f.result_seconds:.1f} s",
        ),
        (
            "features",
            f"diameter {tracking.diameter}, separation {tracking.separation}, minmass {tracking.minmass:g}, "
            f"percentile {tracking.percentile:g}" + (", dark on bright" if tracking.invert else ""),
        ),
        (
            "linking",
            f"at most {e.linking.search_range:g} px a frame ({e.linking.search_range * camera.fps:g} px/s), "
            f"remembered for {e.linking.memory} frames ({e.linking.memory / camera.fps * 1000:.0f} ms)",
        ),
        ("shared memory", f"{f.shared_bytes / 2**20:.0f} MiB in all"),
        ("trackers", f"{f.workers} on {f.cores} cores" + (", pinned" if f.pinned else ", not pinned")),
    ]
    rows += [
        (f"record {name}", f"{rate / 1e6:.1f} MB/s, {rate * 3.6e-6:.1f} GB an hour{note}")
        for name, rate, note in f.recorders
    ]
    rows += [(f"pace of {name}", line) for name, line in f.paces.items()]
    left = f"{output.size(f.disk_free)} free in {f.data_folder}"
    if f.disk_seconds is not None:
        left += f": {output.duration(f.disk_seconds)}"
    rows.append(("disk", left))
    rows.append(("longest disk stall", f.stall_said()))
    um = camera.pixel_um
    scale = (
        f"{um:g} µm a pixel: the field is {camera.width * um:.4g} x {camera.height * um:.4g} µm, a particle's diameter "
        f"{tracking.diameter * um:.3g} µm"
    )
    rows.append(("calibration", scale if um else "none (camera.pixel_um = 0)"))
    on = "frames travel encrypted: " if e.camera.encrypt else "none; camera.encrypt would take "
    if e.lsl.enabled:
        from bridge.lsl.describe import streams

        wide = [f"{s.name} ({f'{len(s.channels)} channels' if s.channels else 'text'})" for s in streams(e).values()]
        rows.append(("LSL streams", f"{', '.join(wide)}; source_id {e.lsl.laboratory}/{e.lsl.instrument}/…"))
    rows.append(("encryption", on + f.encryption["said"]))
    pictures = (
        f"encrypted (control.encrypt_pixels): {f.encryption['frame_ms']:.1f} ms of CPU for a whole one at each end"
    )
    rows.append(("pictures to others", pictures if e.control.encrypt_pixels else "in the clear, by ticket"))
    rows.append(("listens at", ", ".join(f.addresses)))
    return output.table(rows)
