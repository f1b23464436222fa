"""The JPEG XL archive of camera files: lossless, verified, and found again by the file names in `/frames`.

`jxl` is the file format, `worker` and `crew` are the processes that do the work, `index` is `archive.csv`, `keeper`
decides what is deleted when, `level` watches the RAM disk, `speed` measures, `recompress` packs an archive tighter.
Portable: it runs on the camera PC. Public names are loaded when they are asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recorders.archive.index import Archive as Archive

__all__ = ["Archive"]


def __getattr__(name: str) -> Any:
    if name == "Archive":
        from recorders.archive.index import Archive

        return Archive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
