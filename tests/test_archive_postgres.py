"""A study that moves from SQLite to PostgreSQL and back is the same study."""

import pandas as pd
import pytest

from kdsearch import api
from kdsearch.upkeep.deleting import delete_study
from kdsearch.upkeep.doctor import diagnose
from kdsearch.upkeep.packing import archive_study
from kdsearch.upkeep.restoring import restore_study

postgres = pytest.importorskip("tests.postgres", reason="there is no fixture of a PostgreSQL server").postgres
pytestmark = pytest.mark.xdist_group("postgres")  # one server for all


def test_from_sqlite_to_postgresql_and_back_the_table_is_the_same(searched, postgres, tmp_path):
    url, there = postgres.database("upkeep"), tmp_path / "there"
    before = api.open_study("small", workspace=searched.root).frame
    archive_study("small", tmp_path / "to.zip", workspace=searched.root)
    found = restore_study(tmp_path / "to.zip", workspace=there, storage=url, track=False)
    pd.testing.assert_frame_equal(found.frame, before)
    archive_study("small", tmp_path / "back.tar.gz", workspace=there, storage=url)
    back = restore_study(tmp_path / "back.tar.gz", workspace=tmp_path / "back", track=False)
    pd.testing.assert_frame_equal(back.frame, before)
    assert diagnose("small", workspace=there, storage=url, track=False).clean
    delete_study("small", workspace=there, storage=url)
    assert api.studies(workspace=there, storage=url) == []
