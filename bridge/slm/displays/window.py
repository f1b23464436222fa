"""A window over the whole of one screen: a modulator that is driven as a second monitor.

By pygame-ce (SDL), in the thread of the process. The window goes with the process: when it is killed, the screen shows
no hologram of ours any more. A modulator smaller than the screen is filled from the top left corner, the rest is dark.
"""

from __future__ import annotations

import os
from typing import Any

from bridge.slm.displays.base import DisplayError, Picture
from bridge.slm.levels import Levels, no_phase


class Window:
    """A `Display`."""

    wants_levels = True

    def __init__(self, screen: int, width: int, height: int) -> None:
        self._number, self._width, self._height = screen, width, height
        self._surface: Any = None

    def open(self) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        # The picture must not vanish when a person clicks into another screen.
        os.environ.setdefault("SDL_VIDEO_MINIMIZE_ON_FOCUS_LOSS", "0")
        try:
            import pygame
        except ModuleNotFoundError:
            raise DisplayError("pygame-ce is missing here; try: pip install pygame-ce") from None
        self._pygame = pygame
        try:
            pygame.display.init()
            sizes = pygame.display.get_desktop_sizes()
        except pygame.error as error:
            raise DisplayError(f"no screen can be had: {error}") from None
        if self._number >= len(sizes):
            pygame.display.quit()
            raise DisplayError(f"there is no screen {self._number}; there are {len(sizes)}: 0 to {len(sizes) - 1}")
        if sizes[self._number][0] < self._width or sizes[self._number][1] < self._height:
            pygame.display.quit()
            raise DisplayError(
                f"screen {self._number} has {sizes[self._number][0]} x {sizes[self._number][1]} pixels, "
                f"the modulator {self._width} x {self._height}"
            )
        self._screen = pygame.display.set_mode(
            sizes[self._number], pygame.NOFRAME | pygame.FULLSCREEN, display=self._number
        )
        pygame.display.set_caption("ringtrack hologram")
        pygame.mouse.set_visible(False)
        self._surface = pygame.Surface((self._width, self._height), depth=8)
        self._surface.set_palette([(i, i, i) for i in range(256)])
        self.blank()

    def show(self, picture: Picture) -> None:
        assert picture.levels is not None
        self._paint(picture.levels)

    def blank(self) -> None:
        self._paint(no_phase(self._height, self._width))

    def look(self) -> None:
        for event in self._pygame.event.get():
            if event.type in (self._pygame.QUIT, self._pygame.WINDOWCLOSE):
                raise DisplayError("the window was closed")

    def close(self) -> None:
        if self._surface is not None:
            self._surface = None
            self._pygame.display.quit()

    def _paint(self, levels: Levels) -> None:
        if self._surface is None:
            raise DisplayError("the window is not open")
        try:
            self._pygame.surfarray.blit_array(self._surface, levels.T)
            self._screen.blit(self._surface, (0, 0))
            self._pygame.display.flip()
        except self._pygame.error as error:
            raise DisplayError(f"the window is gone: {error}") from None
