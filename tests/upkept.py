"""A searched workspace of seconds, interrupted in the middle, and how it would have ended: for tests of its upkeep."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.studies_for_tests import write_study

if TYPE_CHECKING:  # imported late: only some tests search
    import pandas as pd

    from kdsearch.results import Results

TIMES = ("seconds", "began_ms", "ended_ms")


@dataclass(frozen=True)
class Searched:
    """The study file; a workspace whose search was stopped with a trial under way; the table with which it ends where
    nothing comes between.
    """

    path: Path
    root: Path
    table: "pd.DataFrame"

    def copy(self, to: Path) -> Path:
        """The interrupted workspace once more, to be damaged."""
        shutil.copytree(self.root, to)
        return to

    def assert_goes_on(self, root: Path, storage: str | None = None) -> None:
        """Continued, the study ends as it would have without the interruption and whatever came after that."""
        import pandas as pd

        found = run(self.path, root, storage=storage).frame
        pd.testing.assert_frame_equal(found.drop(columns=[*TIMES]), self.table.drop(columns=[*TIMES]))


def run(path: Path, root: Path, **options: object) -> "Results":
    from kdsearch import api

    return api.run(path, workspace=root, engine="inline", confirm=False, track=False, **options)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """Not to be altered."""
    from kdsearch.executors.engine import Engine
    from kdsearch.search import search
    from kdsearch.source import Source
    from kdsearch.workspace import Workspace

    folder = tmp_path_factory.mktemp("upkept")
    path = write_study(folder, ('"start", ["none", "pretrain"]', '"start", ["pretrain"]'))
    place = Workspace(folder / "runs")
    waited = place.checkpoint("small", 2)
    search(Source(path=path), place, engine=Engine(name="inline"), stopping=waited.exists)
    assert waited.exists()
    shutil.copytree(place.root, folder / "whole")
    return Searched(path, place.root, run(path, folder / "whole").frame)
