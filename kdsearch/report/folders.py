"""Whose a report's folder is: a page is never written over what kdsearch did not write."""

import re
from pathlib import Path

from kdsearch.mistakes import Mistake
from kdsearch.report.render import GENERATOR

_OURS = re.compile(rf'<meta name="generator" content="{GENERATOR}[ "]')
_HEAD = 8192
"""In so many of its first characters a page names its generator."""
_KEPT = "RESULTS.md"
_PICTURES = (".png", ".svg")


def check_ours(folder: Path) -> None:
    """Raise `Mistake` unless a report may be written into `folder`.

    It may where the folder does not exist or is empty, where its index.html is a page of ours, and where it has no
    index.html but what a study measured: RESULTS.md and pictures.
    """
    page = folder / "index.html"
    if page.is_symlink():
        raise _not_ours(folder, "its index.html is a link to somewhere else")
    if page.exists():
        if not page.is_file() or not _OURS.search(_head(page)):
            raise _not_ours(folder, "its index.html was not written by kdsearch")
    elif folder.is_dir() and (others := [entry.name for entry in folder.iterdir() if not _kept(entry)]):
        raise _not_ours(folder, f"it holds other files, such as {sorted(others)[0]}")


def _kept(entry: Path) -> bool:
    """Pictures are ours only beside the RESULTS.md that shows them."""
    return entry.name == _KEPT or (entry.suffix in _PICTURES and (entry.parent / _KEPT).is_file())


def _head(page: Path) -> str:
    with page.open(encoding="utf-8", errors="replace") as file:
        return file.read(_HEAD)


def _not_ours(folder: Path, why: str) -> Mistake:
    return Mistake(f"{folder} is not a report's folder: {why}; name another with --to DIR")
