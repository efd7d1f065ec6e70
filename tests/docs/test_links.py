"""Links between pages lead somewhere, on disk as on the site; every page is in the site's navigation."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, pages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = ROOT / "docs"
PAGES = [*pages(), ROOT / "CHANGELOG.md"]


def links(text: str) -> list[str]:
    """The targets of links and pictures, but for those of other hosts."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(([^()\s]+)\)", prose)
    return [one for one in found if not re.match(r"[a-z]+:", one)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def broken(page: Path, text: str) -> Iterator[str]:
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            yield f"{link}: no such file"
        elif DOCS in page.parents and target != DOCS and DOCS not in target.parents:
            yield f"{link}: the site has only what is below docs/; name the file in code instead"
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page, page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("link", ["nope.md", "verdict.md#nope", "../README.md", "studies/plots/nope.svg"])
def test_a_broken_link_is_found(link: str) -> None:
    assert list(broken(DOCS / "gpu.md", f"See [this]({link})."))


def navigation(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            yield from [value] if isinstance(value, str) else navigation(value)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(navigation(tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]["nav"]))
    there = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - results_notes()
    assert sorted(there - set(listed)) == [], "add a line for each to `nav` in zensical.toml"
    assert sorted(set(listed) - there) == [], "these pages of `nav` do not exist"
    assert len(listed) == len(set(listed))


def results_notes() -> set[str]:
    """Sentences on machines, which are parts of other pages."""
    return {str(page.relative_to(DOCS)) for page in (DOCS / "studies" / "results").rglob("*.md")}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
