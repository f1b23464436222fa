"""`ringtrack doctor`: is this machine fit to track? Looks, changes nothing, and says what would help."""

from __future__ import annotations

from dataclasses import dataclass

import click

from engine.cli import output

MARKS = {"good": "ok", "poor": "!", "bad": "NO"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    verdict: str  # "good", "poor": it works but worse than it could, "bad": it does not work
    fact: str
    remedy: str = ""


@click.command()
@click.option("--data", default="data", show_default=True, help="Folder of the runs, whose disk is tried.")
@output.json_option
def command(data: str, as_json: bool) -> int:
    """Look at this machine: Python, memory, cores, clocks, limits, disk, optional packages.

    The exit status is 3 if something is missing without which nothing runs.
    """
    from pathlib import Path

    from engine.cli.machine import examine

    findings = examine(Path(data).expanduser())
    if as_json:
        output.result_json({"findings": [vars(finding) for finding in findings]})
    else:
        output.result(output.table((MARKS[f.verdict], f.subject, f.fact) for f in findings))
        for finding in findings:
            if finding.remedy and finding.verdict != "good":
                output.talk(f"{finding.subject}: {finding.remedy}")
    return 3 if any(finding.verdict == "bad" for finding in findings) else 0
