"""`ringtrack set KEY VALUE`: settings of a run while it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli import output
from engine.toml_text import literal

if TYPE_CHECKING:
    from bridge.client import Client, Settings


@click.command()
@click.argument("key", required=False)
@click.argument("value", required=False)
@click.option("--undo", is_flag=True, help="Bring back the settings before the last change.")
@click.option("--run", help="The beginning of its id, its folder or its process number, where several go on.")
@output.json_option
def command(key: str | None, value: str | None, undo: bool, run: str | None, as_json: bool) -> None:
    """Change a setting from the next frame on: ringtrack set tracking.minmass 400.

    The change is checked like the settings file, gets a version number, and every frame says in the data which version
    it was tracked with. Without KEY the settings that can be changed are shown.
    """
    from bridge.client import Client
    from bridge.control import local_address
    from engine.cli.choose import called, choose, facts_of

    if (key is None) != (value is None) or (undo and key is not None):
        raise click.UsageError("Give a key and its value, or --undo, or nothing.")
    plan = choose(run).plan
    with Client(local_address(plan.run_id)) as client:
        settings = _done(client, key, value, undo)
    facts = {
        "version": settings.version, "from_frame": settings.from_frame,
        **{f"{section}.{name}": getattr(getattr(settings, section), name) for section, name in _live()},
    }  # fmt: skip
    if as_json:
        output.result_json(facts | {"changes": settings.changes} | facts_of(plan))
    elif key is None and not undo:
        output.result(called(plan))
        output.result(output.table([(name, str(each)) for name, each in facts.items() if name != "from_frame"]))
    else:
        output.result(f"{called(plan)}: {_said(settings, undo)}")


def _said(settings: Settings, undo: bool) -> str:
    """What is in force now, from when on, and what that changed."""
    if not settings.changes:
        return f"nothing is different; settings version {settings.version} stays"
    when = "the next frame" if settings.from_frame is None else f"frame {settings.from_frame}"
    changes = ", ".join(f"{name} = {literal(value)}" for name, value in settings.changes.items())
    back = "again " if undo else ""
    return f"settings version {settings.version}, from {when} on: {back}{changes}"


def _done(client: Client, key: str | None, value: str | None, undo: bool) -> Settings:
    if undo:
        return client.undo()
    if key is None or value is None:
        return client.settings()
    return client.configure({key: value})


def _live() -> list[tuple[str, str]]:
    from engine.live import LIVE_KEYS

    return [(section, name) for section, _, name in (key.partition(".") for key in LIVE_KEYS)]
