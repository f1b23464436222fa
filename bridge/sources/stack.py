"""A stack: one TIFF file with many pages, read page by page.

Uncompressed pages are mapped and sent from the file's own pages in memory, without a copy. Its frame n was taken at
n / fps: the receiver knows the rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile

from bridge.pictures import Pixels
from bridge.sources.base import Shot, Unreadable, name_of
from bridge.sources.tiff import NotWholeError, WrongKindError, check_whole, frame_of
from bridge.wire import Answer
from engine.errors import SettingsError


class Stack:
    """See the module. Counters are page numbers, from 0."""

    live = False
    waits = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = name_of("stack", path)
        self._size = path.stat().st_size
        try:
            self._tif = tifffile.TiffFile(path)
        except Exception as error:
            raise SettingsError(f"source: {path} is no TIFF file ({error})") from None
        self._bytes = np.memmap(path, np.uint8, "r")

    def frames(self, welcome: Answer) -> Iterator[Shot | Unreadable | None]:
        start = max(0, welcome.resume)
        for counter in range(start, self._promised()):
            try:
                image, copy = self._page(counter)
            except (NotWholeError, WrongKindError) as error:
                yield Unreadable(counter=counter, what=f"{self.path.name}, page {counter}", why=str(error))
                continue
            yield Shot(image=image, counter=counter, file_name=self.path.name[-100:], copy=copy)

    def close(self) -> None:
        self._tif.close()
        del self._bytes

    def kind(self) -> tuple[tuple[int, int], str] | None:
        try:
            image, _ = self._page(0)
        except (NotWholeError, WrongKindError):
            return None
        return image.shape, image.dtype.name

    def __len__(self) -> int:
        return self._promised()

    def page(self, index: int) -> Pixels:
        """One frame; those of an uncompressed file lie in the file. Raises NotWholeError or WrongKindError."""
        return self._page(index)[0]

    def _promised(self) -> int:
        """How many frames the file says it has (a file that was cut off may say more than it holds)."""
        said = 0
        if self._tif.is_imagej and self._tif.imagej_metadata:
            said = int(self._tif.imagej_metadata.get("images", 0))
        elif self._tif.is_shaped and self._tif.shaped_metadata:
            shape = self._tif.shaped_metadata[0].get("shape", ())
            said = int(np.prod(shape[:-2], dtype=np.int64)) if len(shape) > 2 and shape[-1] > 4 else 0
        return max(said, self._there())

    def _there(self) -> int:
        try:
            return len(self._tif.pages)
        except Exception:  # the chain of pages breaks off: tifffile stumbles in many ways
            return sum(1 for _ in self._readable())

    def _readable(self) -> Iterator[object]:
        index = 0
        while True:
            try:
                yield self._tif.pages[index]
            except Exception:
                return
            index += 1

    def _page(self, counter: int) -> tuple[Pixels, bool]:
        """One frame, and whether it has to be copied. Raises NotWholeError or WrongKindError."""
        try:
            pages = self._tif.pages
            there = self._there()
            page = pages[counter if counter < there else 0]
            skip = 0
            if counter >= there:
                # ImageJ writes one directory for all images of a large stack; tifffile writes all pixels and then the
                # directories, which are what a file that was cut off has lost.
                one_block = self._tif.is_imagej or (self._tif.is_shaped and page.is_memmappable)
                if not (one_block and there == 1 and page.is_contiguous):
                    raise NotWholeError("the file ends before it")
                skip = counter * page.nbytes
            else:
                check_whole(page, self._size)
            if page.is_memmappable or skip:
                first = page.dataoffsets[0] + skip
                if first + page.nbytes > self._size:
                    raise NotWholeError(f"{first + page.nbytes - self._size} bytes of its pixels are missing")
                kind = np.dtype(page.dtype).newbyteorder(self._tif.byteorder)
                flat = self._bytes[first : first + page.nbytes].view(kind)
                image = frame_of(flat.reshape(page.shape))
                return image, False
            return frame_of(page.asarray()), False
        except (NotWholeError, WrongKindError):
            raise
        except Exception as error:
            raise NotWholeError(f"{type(error).__name__}: {error}") from None
