"""`ringtrack report`: one HTML file about a finished run, with everything in it."""

from __future__ import annotations

import html
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import output
from engine.errors import MachineError, SettingsError

if TYPE_CHECKING:
    from recorders.run import Run

_STYLE = """
:root { color-scheme: light dark; --line:#8884; --dim:#777; }
body { font:15px/1.5 system-ui, sans-serif; max-width:1060px; margin:0 auto; padding:24px 18px 60px; }
h1 { font-size:24px; margin:0 0 4px; } h2 { font-size:17px; margin:34px 0 10px; border-bottom:1px solid var(--line); }
p.dim, td.dim, figcaption { color:var(--dim); } figure { margin:14px 0; } img { max-width:100%; background:#fff; }
table { border-collapse:collapse; font-size:14px; }
td, th { padding:3px 14px 3px 0; text-align:left; vertical-align:top; }
td.n, th.n { text-align:right; font-variant-numeric:tabular-nums; } .lost { color:#d22; font-weight:600; }
pre { font-size:12.5px; line-height:1.45; overflow:auto; border:1px solid var(--line); padding:10px; max-height:420px; }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(150px,1fr)); gap:10px; margin:18px 0; }
.cards div { border:1px solid var(--line); border-radius:6px; padding:8px 12px; }
.cards b { display:block; font-size:21px; }
.cards span { color:var(--dim); font-size:13px; }
"""
MOST_RANGES = 200
MOST_EVENTS = 200
MOST_SAID = 1500  # letters of an event
_HIDDEN = {"event", "level", "t_ns", "t_utc_ns", "process", "pid", "run_id"}


@click.command()
@click.argument("run")
@output.data_option
@click.option("--out", type=click.Path(path_type=Path), help="The file; otherwise report.html in the run's folder.")
@click.option("--frames", type=click.IntRange(min=0, max=24), default=4, help="Sample frames, where they were kept.")
@output.json_option
def command(run: str, data: Path, out: Path | None, frames: int, as_json: bool) -> None:
    """Write one self-contained HTML file about the finished run RUN: a folder, a file, run_003, or latest.

    Trajectories, counts, rates, a histogram of latencies, the account of every frame, settings and sample frames: to
    be sent, printed, or opened in ten years.
    """
    from recorders.named import find_run
    from recorders.run import Run

    record = Run.open(find_run(run, data))
    folder = record.path.parent
    out = out or folder / "report.html"
    if out.is_dir():
        out = out / "report.html"
    if not out.parent.is_dir():
        raise SettingsError(f"--out {out}: there is no folder {out.parent}")
    content = page(record, folder, frames)
    try:
        out.write_text(content, encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{out} cannot be written: {error.strerror}. Name another file with --out") from None
    if as_json:
        output.result_json({"file": str(out), "bytes": out.stat().st_size})
    else:
        output.result(str(out))


def page(record: Run, folder: Path, frames: int) -> str:
    """The whole file."""
    from engine.cli import report_plots as plots

    told = _run_json(folder)
    settings = record.settings
    name = settings.experiment.name
    started = told.get("started_utc_ns", 0) / 1e9
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(started)) if started else ""
    table, tracks = record.frames_table, record.tracks
    lost = record.lost
    camera = settings.camera
    parts = [
        f"<h1>{_text(name)}</h1>",
        f'<p class="dim">{_text(when)} · {_text(folder)} · {camera.width} x {camera.height} {camera.dtype}, '
        f"{camera.fps:g} frames/s"
        + (f", {camera.pixel_um:g} µm a pixel" if camera.pixel_um else ", not calibrated")
        + "</p>",
        _cards(told, table, tracks, _lost_count(record)),
        "<h2>Account of every frame</h2>",
        _account(record),
        _lost(lost, record),
        "<h2>Trajectories</h2>",
        _figure(plots.trajectories(tracks, settings), "The particles seen longest; colours tell them apart."),
        "<h2>Counts and rates</h2>",
        _figure(plots.counts(table, settings), "Particles in each frame, and frames in each second, over the run."),
        "<h2>Latency</h2>",
        _figure(plots.latency(table, told), "From received to published, and the time of each step."),
        "<h2>What the particles look like</h2>",
        _figure(plots.features(tracks), "Mass, size, eccentricity and signal of all features that passed the filters."),
    ]
    samples = plots.samples(record, frames)
    if samples:
        parts += ["<h2>Sample frames</h2>", *(_figure(picture, words) for picture, words in samples)]
    parts += [
        "<h2>Events</h2>", _events(record), "<h2>Settings</h2>", f"<pre>{_text(settings.to_toml())}</pre>",
        "<h2>Computer and versions</h2>",
        _rows((told.get("host") or {}) | (told.get("versions") or {})),
    ]  # fmt: skip
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(name)} · ringtrack</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _run_json(folder: Path) -> dict[str, Any]:
    """What `run.json` says; nothing if it is not there or cut."""
    for path in sorted(folder.glob("*run*.json")):
        try:
            told = json.loads(path.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and "started_utc_ns" in told:
            return told
    return {}


def _cards(told: dict[str, Any], table: Any, tracks: Any, lost: int) -> str:
    summary = told.get("summary") or {}
    recorded = int((table["state"] == "tracked").sum())
    cards = (
        [
            (f"{summary['frames_tracked']}", "frames tracked"),
        ]
        if summary
        else []
    )
    cards += [
        (f"{recorded}", "frames recorded"),
        (f'<span class="lost">{lost}</span>' if lost else "0", "frames lost"),
        (f"{tracks['particle'].nunique()}", "particles"),
        (f"{len(tracks)}", "rows"),
    ]
    if summary:
        latency = summary["latency_ms"]
        cards += [
            (f"{summary['fps']:.1f}", "frames/s"),
            (f"{latency['p50']:.3g} / {latency['p99']:.3g}", "ms to published: median, 99 %"),
        ]
        if summary.get("reason"):
            cards.append((_text(summary["reason"]), "why it ended"))
    return '<div class="cards">' + "".join(f"<div><b>{v}</b><span>{_text(k)}</span></div>" for v, k in cards) + "</div>"


def _lost_count(record: Run) -> int:
    return int(record.accounting["lost"].sum())


def _account(record: Run) -> str:
    account = record.accounting
    head = "".join(f'<th class="n">{name}</th>' for name in ("in", "out", "lost", "in flight"))
    rows = "".join(
        f"<tr><td>{_text(step)}</td>"
        + "".join(f'<td class="n">{int(row[name])}</td>' for name in ("in", "out", "lost", "in_flight"))
        + "</tr>"
        for step, row in account.iterrows()
    )
    return f"<table><tr><th>step</th>{head}</tr>{rows}</table>"


def _lost(lost: Any, record: Run) -> str:
    if not len(lost):
        if record.cut_short and record.told is None:
            return (
                '<p class="lost">Of what is in the file no frame was lost. The file was cut short, and what came after '
                "its end was never counted.</p>"
            )
        return '<p class="dim">No frame was lost.</p>'
    rows = "".join(
        f'<tr><td class="n">{int(r["first"])}</td><td class="n">{int(r["last"])}</td><td>{_text(r["step"])}</td>'
        f"<td>{_text(r['cause'])}</td></tr>"
        for _, r in lost.head(MOST_RANGES).iterrows()
    )
    more = f'<p class="dim">and {len(lost) - MOST_RANGES} more ranges</p>' if len(lost) > MOST_RANGES else ""
    return (
        '<p class="lost">Lost frames, by number</p><table><tr><th class="n">first</th><th class="n">last</th>'
        f"<th>at</th><th>why</th></tr>{rows}</table>{more}"
    )


def _events(record: Run) -> str:
    events = record.events
    if not len(events):
        return '<p class="dim">None.</p>'
    rows = "".join(
        f'<tr><td class="n">{int(e["frame"])}</td><td>{_text(e["kind"])}</td>'
        f'<td class="dim">{_text(event_said(e["kind"], e["json"]))}</td></tr>'
        for _, e in events.head(MOST_EVENTS).iterrows()
    )
    return f'<table><tr><th class="n">frame</th><th>what</th><th></th></tr>{rows}</table>'


def event_said(kind: str, text: str) -> str:
    """An event's details as a sentence; figures that have none by their names."""
    try:
        details = json.loads(text or "{}")
    except ValueError:
        return text[:MOST_SAID]
    if not isinstance(details, dict):
        return text[:MOST_SAID]
    if kind == "settings":
        sections = {name: each for name, each in details.items() if name in ("tracking", "linking")}
        values = [f"{s}.{key} = {value}" for s, each in sections.items() for key, value in each.items()]
        return f"from here on version {details.get('version')}: " + ", ".join(values)
    message = str(details.pop("message", ""))
    rest = ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in details.items()
        if key not in _HIDDEN and not isinstance(value, dict | list)
    )  # fmt: skip
    return (f"{message} ({rest})" if message and rest else message or rest)[:MOST_SAID]


def _figure(png: bytes, words: str) -> str:
    import base64

    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{_text(words)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_text(words)}</figcaption></figure>"
    )


def _rows(facts: dict[str, Any]) -> str:
    rows = "".join(f'<tr><td class="dim">{_text(key)}</td><td>{_text(value)}</td></tr>' for key, value in facts.items())
    return f"<table>{rows}</table>"


def _text(value: Any) -> str:
    return html.escape(str(value))
