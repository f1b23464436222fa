"""Runs the monitor's window in a process of its own and does with it what is asked on the command line.

    python -m tests.system.monitor_driver tk ADDRESS FOLDER

In a window of Tk the mouse and the keys are those of Tk itself (`event_generate`); in one of Qt, Qt's. It prints one
JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.monitor.feed import LiveFeed
from bridge.monitor.show import show_window, toolkit
from bridge.monitor.window import Monitor


class Hands:
    """Mouse and keys of a toolkit; places are those of matplotlib (pixels, from the bottom left)."""

    def __init__(self, kind: str, monitor: Monitor) -> None:
        self._kind = kind
        self._canvas: Any = monitor.screen.painter.figure.canvas

    def click(self, axes: Any, share: float = 0.5) -> None:
        """In the middle of axes, at a share of their width."""
        box = axes.get_window_extent()
        x = box.x0 + share * box.width
        y = self._canvas.figure.bbox.height - (box.y0 + box.y1) / 2
        if self._kind == "tk":
            widget = self._canvas.get_tk_widget()
            for what in ("<Motion>", "<ButtonPress-1>", "<ButtonRelease-1>"):
                widget.event_generate(what, x=round(x), y=round(y))
        else:
            from PySide6.QtCore import QPoint, Qt
            from PySide6.QtTest import QTest

            QTest.mouseClick(self._canvas, Qt.MouseButton.LeftButton, pos=QPoint(round(x), round(y)))

    def focused(self) -> bool:
        """Whether keys go to the window: Tk gives them to whatever has the focus."""
        if self._kind != "tk":
            return True
        widget = self._canvas.get_tk_widget()
        widget.focus_force()
        widget.update()
        return bool(widget.focus_get() is widget)

    def type(self, text: str) -> None:
        names = {"\b": "BackSpace", "\n": "Return"}
        for letter in text:
            if self._kind == "tk":
                widget = self._canvas.get_tk_widget()
                widget.event_generate(f"<KeyPress-{names.get(letter, letter)}>")
            else:
                from PySide6.QtCore import Qt
                from PySide6.QtTest import QTest

                keys = {"\b": Qt.Key.Key_Backspace, "\n": Qt.Key.Key_Return}
                if letter in keys:
                    QTest.keyClick(self._canvas, keys[letter])
                else:
                    QTest.keyClicks(self._canvas, letter)


def story(monitor: Monitor, hands: Hands, folder: Path, facts: dict[str, Any]) -> Iterator[bool]:
    """What is done, step by step; each yield says whether the wait is over."""
    screen, settings = monitor.screen, monitor.screen.settings
    while screen.frame < 0 or screen.image.image is None or not len(screen.image.image.rows):
        yield False
    if facts["kind"] == "qt":  # the other window changes settings meanwhile; this one looks
        yield from _tabs(monitor, hands, folder, facts)
        return
    field = settings.fields["tracking.separation"]
    before = settings.in_force("tracking.separation")
    while not hands.focused():
        yield False
    hands.click(field.axes)
    yield True
    hands.type("\b" * len(field.value) + str(before + 1) + "\n")
    yield True
    facts["pending"] = dict(settings.pending)
    hands.click(settings.minmass.ax, 0.999)
    yield True
    hands.click(settings.button("Apply").ax)
    while settings.pending:
        yield False
    facts["applied"] = monitor._known.version if monitor._known else None
    while len(screen.image.image.rows):
        yield False
    hands.click(settings.button("Undo").ax)
    while not len(screen.image.image.rows):
        yield False
    facts["undone"] = monitor._known.version if monitor._known else None
    monitor.toggle_trails()
    screen.image.chosen = int(screen.image.image.rows["particle"][0])
    yield from _tabs(monitor, hands, folder, facts)


def _tabs(monitor: Monitor, hands: Hands, folder: Path, facts: dict[str, Any]) -> Iterator[bool]:
    """Click on each tab, and keep what is shown then."""
    screen = monitor.screen
    for tab in ("Motion", "Trap", "Run"):
        hands.click(screen.tabs.button(tab).ax)
        yield True
        monitor.snapshot()  # all panels at once, instead of in turn
        yield True
        facts[f"tab {tab}"] = screen.tab
        if facts["kind"] == "tk":
            from PIL import ImageGrab

            ImageGrab.grab(xdisplay="").save(folder / f"monitor-{tab.lower()}.png")
        else:
            monitor.save_png()
    facts["overlay"] = int((screen.painter.picture()[:, :, :3] == (83, 184, 165)).all(axis=2).sum())
    facts["frame"], facts["warning"] = screen.frame, monitor.warning()
    facts["pictures"] = monitor.pictures


def main(kind: str, address: str, folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"kind": kind}
    steps: list[Iterator[bool]] = []
    limit = time.monotonic() + 60

    def ready(monitor: Monitor) -> None:
        steps.append(story(monitor, Hands(kind, monitor), folder, facts))

    def end() -> bool:
        if not steps:
            return False
        try:
            next(steps[0])
        except StopIteration:
            return True
        return time.monotonic() > limit

    show_window(LiveFeed(address), folder=folder, backend=toolkit(kind), end=end, ready=ready)
    return facts


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
