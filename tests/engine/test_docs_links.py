"""The documentation's links lead to files that are there, and every page can be reached from its index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def targets(page: Path) -> set[Path]:
    """Files that a page links to, here in the repository."""
    return {(page.parent / link).resolve() for link in _LINK.findall(page.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [target for target in targets(page) if not target.exists()] == []


def test_every_page_can_be_reached_from_the_index() -> None:
    seen, ahead = set(), {ROOT / "docs" / "index.md"}
    while ahead:
        page = ahead.pop()
        seen.add(page)
        ahead |= {target for target in targets(page) if target.suffix == ".md" and target.exists()} - seen
    assert sorted(set(PAGES) - seen - {ROOT / "README.md"}) == []
