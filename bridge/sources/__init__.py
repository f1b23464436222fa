"""Where frames come from: one small class each, and one function that finds the right one.

| SOURCE | class | ends |
|---|---|---|
| `stack.tif` | `stack.Stack` | with its last page |
| `folder/` | `folder.Folder` | with its last file |
| `folder/` being written into | `watch.WatchedFolder` | never, or after `idle_s` without a file |
| `simulated?beads=100` | `simulated.SimulatedCamera` | after `frames=`, or never |
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bridge.sources.base import Shot, Source, Unreadable
from engine.errors import SettingsError

Numbering = Literal["name", "index"]
__all__ = ["Numbering", "Shot", "Source", "Unreadable", "open_source"]


def open_source(
    text: str, *, watch: bool = True, poll: bool = False, numbering: Numbering = "name", patience_s: float = 5.0,
    idle_s: float = 0.0, pixels: bool = True,
) -> Source:  # fmt: skip
    """Find the source that SOURCE names; nothing is read yet. Raises SettingsError, in a sentence, if there is none.

    A folder is watched unless `watch` is False, which makes it a finite source. Without `pixels` those of a watched
    folder are not read.
    """
    if text == "simulated" or text.startswith("simulated?"):
        from bridge.sources.simulated import SimulatedCamera

        return SimulatedCamera.parse(text)
    path = Path(text).expanduser()
    if path.is_dir():
        if watch:
            from bridge.sources.watch import WatchedFolder

            return WatchedFolder(path, poll=poll, patience_s=patience_s, idle_s=idle_s, pixels=pixels)
        from bridge.sources.folder import Folder

        return Folder(path, numbering)
    if path.is_file():
        from bridge.sources.stack import Stack

        return Stack(path)
    raise SettingsError(
        f"source: {text} is neither a folder, nor a TIFF stack, nor `simulated` "
        f"(looked for it in {Path.cwd()}). A folder that is to be written into has to exist"
    )
