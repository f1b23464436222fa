"""A folder of finished files: a finite source, one frame a file, in the order of the numbers in their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bridge.sources.base import Shot, Unreadable, name_of
from bridge.sources.tiff import NotWholeError, WrongKindError, is_candidate, natural, number_of, read_frame
from bridge.wire import Answer
from engine.errors import SettingsError


class Folder:
    """See the module.

    Counters are the numbers in the names, so that a missing file leaves its hole; where names have no numbers, or one
    number twice, they are the position in the order ("index"). `doubt`: that this was not asked for, and closes holes.
    """

    live = False
    waits = True

    def __init__(self, path: Path, numbering: str = "name") -> None:
        self.path = path
        self.name = name_of("folder", path)
        self.doubt = ""
        self.files = self._numbered(numbering)
        if not self.files:
            raise SettingsError(f"source: {path} has no file that ends in .tif or .tiff")

    def frames(self, welcome: Answer) -> Iterator[Shot | Unreadable | None]:
        for counter, path in self.files:
            if counter < welcome.resume:
                continue
            try:
                image = read_frame(path)
            except (NotWholeError, WrongKindError, OSError) as error:
                yield Unreadable(counter=counter, what=path.name, why=str(error))
                continue
            yield Shot(image=image, counter=counter, file_name=path.name, path=path, copy=False)

    def kind(self) -> tuple[tuple[int, int], str] | None:
        try:
            image = read_frame(self.files[0][1])
        except (NotWholeError, WrongKindError, OSError):
            return None
        return image.shape, image.dtype.name

    def close(self) -> None:
        """Nothing is held."""

    def _numbered(self, numbering: str) -> list[tuple[int, Path]]:
        found_here = [p for p in self.path.iterdir() if is_candidate(p.name)]
        # Of a recording: files in folders of ten thousand, which are called by numbers.
        found_here = found_here or [p for p in self.path.glob("[0-9]*/*") if is_candidate(p.name)]
        paths = sorted(found_here, key=lambda p: natural(p.name))
        numbers = [number_of(path.name) for path in paths]
        found = [number for number in numbers if number is not None]
        if numbering == "index":
            return list(enumerate(paths))
        without = [path.name for path, number in zip(paths, numbers) if number is None]
        twice = sorted(number for number, count in Counter(found).items() if count > 1)
        if not without and not twice:
            return sorted(zip(found, paths))
        if found:  # where no name has a number there are no holes either
            why = _numberless(without) if without else f"number {twice[0]} is there twice"
            self.doubt = (
                f"{self.path}: {why}, so frames are counted in the order of the names, without the holes in their "
                "numbers. Take such files away to keep them"
            )
        return list(enumerate(paths))


def _numberless(names: list[str]) -> str:
    others = len(names) - 1
    return f"{names[0]} and {others} more have no number" if others else f"{names[0]} has no number"
