"""What the keeper of an archive has come to, in numbers and in words."""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct, kw_only=True):
    """What the keeper has come to."""

    files: int = 0
    archived: int = 0  # verified, and in the index
    known: int = 0  # of those, found in the archive already
    deleted: int = 0
    failed: int = 0  # no frame, or not to be archived: the file stays
    moved: int = 0  # to the disk with more room
    to_pack: int = 0
    to_verify: int = 0
    to_take: int = 0  # archived, but not taken by the run yet
    largest_backlog: int = 0  # of files that were to be verified
    bytes_raw: int = 0
    bytes_jxl: int = 0
    restarts: int = 0  # of workers
    level: float = 0.0  # of the RAM disk
    highest_level: float = 0.0
    seconds: float = 0.0

    def line(self) -> str:
        """One line for people, while it goes on."""
        return (
            f"archived {self.archived}  to pack {self.to_pack}  to verify {self.to_verify}  "
            + (f"to be taken {self.to_take}  " if self.to_take else "")
            + f"disk {self.level:.0%}"
        )

    def lines(self) -> list[str]:
        """The account at the end."""
        rate = self.archived / self.seconds if self.seconds else 0.0
        ratio = self.bytes_raw / self.bytes_jxl if self.bytes_jxl else 0.0
        out = [f"{self.files} files", f"  archived   {self.archived}  ({rate:.1f} a second, ratio {ratio:.2f})"]
        optional = {
            "known": (self.known, "(in the archive already)"),
            "moved": (self.moved, "(aside, the RAM disk was above its mark)"),
            "failed": (self.failed, "(they stay where they are)"),
            "left": (self.to_pack + self.to_verify, "(not archived yet: they stay, and are next time)"),
            "not taken": (self.to_take, "(archived, but no run has taken them: they stay)"),
            "restarts": (self.restarts, "(of workers)"),
        }
        out.append(f"  deleted    {self.deleted}")
        out += [f"  {name:<10} {count}  {what}" for name, (count, what) in optional.items() if count]
        out.append(
            f"  backlog    {self.largest_backlog} at most, to be verified; disk at most {self.highest_level:.0%} full"
        )
        return out
