"""Text that changes at every look, drawn by Pillow: matplotlib's own takes 5 ms a line, this one a tenth of one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bridge.monitor import style

_FILES = {"": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf", "mono": "DejaVuSansMono.ttf"}


@lru_cache(64)
def _font(face: str, pixels: int) -> Any:
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", _FILES[face])), pixels)


@lru_cache(512)
def _drawn(words: str, face: str, pixels: int, colour: str, spacing: float, back: float) -> NDArray[np.uint8]:
    """The words as RGBA, bottom row first, as Agg takes them; `back`: how dark what is behind them is made."""
    font, gap = _font(face, pixels), round(pixels * (spacing - 1.0))
    pad = 3 if back else 0
    measure = ImageDraw.Draw(Image.new("L", (1, 1)))
    _, _, right, bottom = measure.multiline_textbbox((0, 0), words, font, spacing=gap)
    image = Image.new("L", (int(right) + 2 + 2 * pad, int(bottom) + 2 + 2 * pad))
    ImageDraw.Draw(image).multiline_text((pad, pad), words, 255, font, spacing=gap)
    ink = np.asarray(image).astype(np.float32) / 255
    alpha = ink + back * (1 - ink)
    rgba = np.empty((*ink.shape, 4), np.uint8)
    for channel, value in enumerate(to_rgb(colour)):
        rgba[..., channel] = 255 * value * np.divide(ink, alpha, out=np.ones_like(ink), where=alpha > 0)
    rgba[..., 3] = 255 * alpha
    return np.ascontiguousarray(rgba[::-1])


class Words(Artist):
    """Text at a place of axes, 0 to 1 in both directions; `ha` and `va` as matplotlib has them."""

    def __init__(
        self, axes: Axes, x: float, y: float, text: str = "", *, size: float = style.NORMAL, color: str = style.TEXT,
        face: str = "", ha: str = "left", va: str = "top", spacing: float = 1.3, back: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self._place, self._ha, self._va = (x, y), ha, va
        self._text, self._colour, self._face, self._size = text, color, face, size
        self._spacing, self._back = spacing, back
        self.set_clip_on(False)
        axes.add_artist(self)
        self.set_animated(True)

    def get_text(self) -> str:
        return self._text

    def set_text(self, text: str) -> None:
        self._text = text

    def move(self, x: float, y: float) -> None:
        self._place = x, y

    def set_color(self, colour: str) -> None:
        self._colour = colour

    def draw(self, renderer: Any) -> None:
        """Into what the renderer draws."""
        if not self._text or not self.get_visible() or self.axes is None:
            return
        pixels = round(renderer.points_to_pixels(self._size) * 1.12)
        rgba = _drawn(self._text, self._face, pixels, self._colour, self._spacing, self._back)
        height, width = rgba.shape[:2]
        x, y = self.axes.transAxes.transform(self._place)
        x -= {"left": 0, "center": width / 2, "right": width}[self._ha]
        y -= {"bottom": 0, "center": height / 2, "top": height}[self._va]
        gc = renderer.new_gc()
        renderer.draw_image(gc, round(x), round(y), rgba)
        gc.restore()
