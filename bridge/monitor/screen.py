"""The window's panels and where they stand: the picture on the left, what is known of it on the right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from bridge.monitor import style
from bridge.monitor.controls import Act, ButtonPanel, SettingsPanel, Tabs
from bridge.monitor.feed import Connection, Facts
from bridge.monitor.flow_panels import Focus, Head, LogLines, Rates, Statistics, StepTimes
from bridge.monitor.image_panel import ImagePanel
from bridge.monitor.line_panels import Histogram, LineCut
from bridge.monitor.memory import Memory
from bridge.monitor.motion_panels import Displacement, Trajectories
from bridge.monitor.painter import Painter, Panel
from bridge.monitor.trap_panels import Cloud, Spectrum, TimeTrace, Trap, TrapWords

TABS = ("Run", "Motion", "Trap")
_LEFT = 0.53  # of the window's width
_TOP = 0.955
_LOG = 0.085
_UNDER = 0.285  # top of what is beneath picture and tabs
_TAB = 0.915


class Screen:
    """Makes all panels and says which are shown. `update` brings one up to date."""

    def __init__(
        self, figure: Figure, settings_acts: dict[str, Act], acts: dict[str, Act],
        picture: Callable[[float, float], None],
    ) -> None:  # fmt: skip
        figure.set_facecolor(style.BACKGROUND)
        right, half = 1 - _LEFT, (1 - _LEFT) / 2
        room = _TAB - _UNDER
        mid = _UNDER + room / 2
        self.head = Head(figure, (0.0, _TOP, 1.0, 1 - _TOP))
        self.image = ImagePanel(figure, (0.0, _UNDER, _LEFT, _TOP - _UNDER))
        self.histogram = Histogram(figure, (0.0, _LOG, _LEFT / 2, _UNDER - _LOG))
        self.cut = LineCut(figure, (_LEFT / 2, _LOG, _LEFT / 2, _UNDER - _LOG))
        self.log = LogLines(figure, (0.0, 0.0, 1.0, _LOG))
        self.tabs = Tabs(figure, (_LEFT, _TAB, right, _TOP - _TAB), list(TABS), self.choose)
        self.settings = SettingsPanel(figure, (_LEFT, _LOG, half, _UNDER - _LOG))
        self.settings.add_buttons(settings_acts)
        self.buttons = ButtonPanel(figure, (_LEFT + half, _LOG, half, _UNDER - _LOG), acts, picture)
        top_left, top_right = (_LEFT, mid, half, room / 2), (_LEFT + half, mid, half, room / 2)
        low_left, low_right = (_LEFT, _UNDER, half, room / 2), (_LEFT + half, _UNDER, half, room / 2)
        self.rates, self.steps = Rates(figure, top_left), StepTimes(figure, top_right)
        self.focus, self.statistics = Focus(figure, low_left), Statistics(figure, low_right)
        self.ways = Trajectories(figure, (_LEFT, _UNDER + 0.36 * room, right, 0.64 * room))
        self.displacement = Displacement(figure, (_LEFT, _UNDER, right, 0.36 * room))
        self.cloud, self.spectrum = Cloud(figure, top_left), Spectrum(figure, top_right)
        self.trace, self.words = TimeTrace(figure, low_left), TrapWords(figure, low_right)
        self.trap = Trap()
        self._by_tab: dict[str, list[Any]] = {
            "Run": [self.rates, self.steps, self.focus, self.statistics],
            "Motion": [self.ways, self.displacement],
            "Trap": [self.cloud, self.spectrum, self.trace, self.words],
        }
        self._always: list[Any] = [self.head, self.histogram, self.cut, self.log, self.tabs, self.settings,
                                   self.buttons]  # fmt: skip
        self.painter = Painter(figure)
        self.tab = ""
        self._turn = 0
        self.choose("Run")

    def choose(self, tab: str) -> None:
        """Show another tab."""
        if tab == self.tab:
            return
        self.tab = tab
        for name, panels in self._by_tab.items():
            for panel in panels:
                for axes in panel.axes:
                    axes.set_animated(True)
                    axes.set_visible(name == tab)
        self.painter.panels([self.image, *self._always, *self._by_tab[tab]])
        self.tabs.show(tab)
        self.painter.wipe((_LEFT, _UNDER, 1 - _LEFT, _TAB - _UNDER))

    def refresh_next(self, memory: Memory, facts: Facts, connection: Connection, shown: float) -> None:
        """Bring one more panel up to date, in turn; it paints when the painter comes to it."""
        turns: list[Callable[[], None]] = [
            lambda: self.head.update(facts, connection, self.frame, shown),
            lambda: self.histogram.update(self.image),
            lambda: self.cut.update(self.image) if self.image.cut or self.cut.dirty else None,
            lambda: self.log.update(facts.log),
            *self._turns_of_tab(memory, facts),
        ]
        self._turn = (self._turn + 1) % len(turns)
        turns[self._turn]()

    def refresh_all(self, memory: Memory, facts: Facts, connection: Connection, shown: float) -> None:
        """Everything at once: for a picture in a file."""
        for _ in range(16):
            self.refresh_next(memory, facts, connection, shown)

    @property
    def frame(self) -> int:
        """Of the picture; -1 before the first."""
        return self.image.image.frame if self.image.image is not None else -1

    def panels(self) -> list[Panel]:
        """What is shown now."""
        return [self.image, *self._always, *self._by_tab[self.tab]]

    def _turns_of_tab(self, memory: Memory, facts: Facts) -> list[Callable[[], None]]:
        if self.tab == "Run":
            rows = self.image.image.rows if self.image.image is not None else None
            return [
                lambda: self.rates.update(memory),
                lambda: self.steps.update(facts),
                lambda: self.focus.update(memory),
                lambda: self.statistics.update(rows, facts) if rows is not None else None,
            ]
        if self.tab == "Motion":
            return [lambda: self.ways.update(memory, facts), lambda: self.displacement.update(memory, facts)]
        return [
            lambda: self.trap.update(memory, facts, self.image.chosen),
            lambda: self.cloud.update(self.trap, facts),
            lambda: self.spectrum.update(self.trap, facts),
            lambda: self.trace.update(self.trap, facts),
            lambda: self.words.update(self.trap),
        ]
