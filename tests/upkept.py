"""A searched workspace of seconds, interrupted in the middle, and how it would have ended: for tests of its upkeep."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from kdsearch import api
from kdsearch.search import search
from kdsearch.study import Source
from kdsearch.workspace import Workspace
from tests.studies_for_tests import write_study

TIMES = ("seconds", "began_ms", "ended_ms")


@dataclass(frozen=True)
class Searched:
    """The study file; a workspace whose search was stopped with a trial under way; the table with which it ends where
    nothing comes between.
    """

    path: Path
    root: Path
    table: pd.DataFrame

    def copy(self, to: Path) -> Path:
        """The interrupted workspace once more, to be damaged."""
        shutil.copytree(self.root, to)
        return to

    def assert_goes_on(self, root: Path, storage: str | None = None) -> None:
        """Continued, the study ends as it would have without the interruption and whatever came after that."""
        found = run(self.path, root, storage=storage).frame
        pd.testing.assert_frame_equal(found.drop(columns=[*TIMES]), self.table.drop(columns=[*TIMES]))


def run(path: Path, root: Path, **options: object) -> "api.Results":
    return api.run(path, workspace=root, engine="inline", confirm=False, track=False, **options)


def interrupted_search(folder: Path) -> Searched:
    path = write_study(folder, ('"start", ["none", "pretrain"]', '"start", ["pretrain"]'))
    place = Workspace(folder / "runs")
    waited = place.checkpoint("small", 2)
    search(Source(path=path), place, engine="inline", stopping=waited.exists)
    assert waited.exists()
    shutil.copytree(place.root, folder / "whole")
    return Searched(path, place.root, run(path, folder / "whole").frame)
