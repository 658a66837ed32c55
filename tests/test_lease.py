"""The lock that keeps a workspace's study to one driver."""

import errno

import pytest

from kdsearch import lease
from kdsearch.lease import AtWorkError, driven, only_driver


def test_one_drives_and_is_named_to_the_other(tmp_path):
    folder = tmp_path / "small"
    assert not driven(folder) and not folder.exists(), "asking leaves nothing"
    with only_driver(folder):
        assert driven(folder)
        with pytest.raises(AtWorkError, match=r"another run of the study 'small' is at work in .*process \d+ on"):
            only_driver(folder).__enter__()
    assert not driven(folder)


@pytest.mark.parametrize(("number", "said"), [(errno.EACCES, True), (errno.ENOLCK, True), (errno.EROFS, False)])
def test_a_lock_that_cannot_be_asked_counts_as_held(tmp_path, monkeypatch, number, said):
    (tmp_path / "driver.lock").touch()

    def refuse(*_args, **_kwargs):
        raise OSError(number, "refused")

    monkeypatch.setattr(lease.FileLock, "acquire", refuse)
    assert driven(tmp_path) is said
