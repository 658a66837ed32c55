import pytest

from kdsearch.masking import masked, without_user

SECRETS = [
    "postgresql+psycopg://me:SECRET@host:5432/db",
    "postgresql://host/db?user=me&password=SECRET&sslmode=require",
    "postgresql://me:SEC@RET@host/db",
    "could not reach https://me:SECRET@host/api: refused (postgresql://u:SECRET@h/d)",
    "postgresql+psycopg://me:SEC/RET@host/db",
    "postgresql+psycopg:/me:SECRET@host/db",
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_part_of_a_password_is_left(text):
    said = masked(text)
    assert "SEC" not in said and "RET" not in said
    assert "***" in said and "host" in said


def test_what_holds_none_is_left_as_it_is():
    for text in ("sqlite:////tmp/a@b/optuna.db", "http://127.0.0.1:5000/#/x", "at 12:30 me@host said: no"):
        assert masked(text) == text


def test_links_are_without_a_user():
    assert without_user("https://me:SECRET@host:8/x@y") == "https://host:8/x@y"
    assert without_user("http://127.0.0.1:5000/a@b") == "http://127.0.0.1:5000/a@b"
