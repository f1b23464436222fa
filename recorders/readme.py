"""README.txt of a run: what lies beside it, for who finds the folder in ten years."""

from __future__ import annotations

from engine.experiment import Experiment

TEXT = """\
{name}: particles tracked by ringtrack{experiment}

tracking_{name}.h5    results (HDF5): see below
tracks_{name}.csv     the same tracks as text, where it was asked for
images_{name}.h5      camera frames, where they were asked for; crops_{name}.h5: pictures of single particles
experiment.toml        the settings of this run, every key
run.json               versions, computer, clocks, accounting of frames, latencies
log.jsonl              what every process had to say, one JSON line each

A file tracking_{name}.part002.h5 means that the recorder was restarted: recorders.Run reads the parts as one.

Load it (Python):
    import pandas
    tracks = pandas.read_hdf("tracking_{name}.h5", "tracks")
    frames = pandas.read_hdf("tracking_{name}.h5", "frames")

/tracks: one row for each particle in each frame
    frame        frame number, proportional to time ({fps:g} frames/s were set); lost frames leave their hole
    particle     identity of the particle, the same in all its frames
    x, y         position in pixels; origin: centre of the top-left pixel; y points down
{pixel}    mass         summed brightness; signal: brightest pixel; raw_mass: sum of the raw pixels
    ecc, size    eccentricity (0 is round), radius of gyration in pixels
    ep           estimated error of the position in pixels (NaN: no background to judge by)
    vx, vy       velocity in pixels per second (NaN in a particle's first row)
    age          frames since the particle was first seen
    saturated    pixels of the feature at the sensor's limit

/frames: one row for each frame number, lost ones included
    state, step, cause     tracked | failed | lost, and where and why it was lost
    first_row, rows        its rows in /tracks
    counter, sequence      the camera's own count; a new sequence begins where that count started again
    found, removed_...     features before the filters, and how many each filter removed
    t_..._ns               times in nanoseconds of this computer's monotonic clock (-1: none);
                           UTC = t + utc_offset_ns, an attribute of /metadata/system_info
    t_source_ns            camera time on the source's own clock; velocities use it
    time_source            where the camera time came from: hardware, header, file, arrival
    checksum               xxh3-64 of the raw pixels; file_name as the camera software called it
    settings               version of the settings

/events: what happened, and at which frame. /extra: free metadata of the source. /metadata: settings, computer,
counts. /accounting: for each step in = out + lost + in flight, and every loss as a range of frame numbers.
"""


def readme(name: str, experiment: Experiment) -> str:
    """The text for a run."""
    title = experiment.experiment.name
    pixel_um = experiment.camera.pixel_um
    return TEXT.format(
        name=name,
        experiment=f' (experiment "{title}")' if title else "",
        fps=experiment.camera.fps,
        pixel=f"                 a pixel is {pixel_um:g} um\n" if pixel_um else "",
    )
