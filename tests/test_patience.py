"""Waiting for a database, by a clock of the test's own."""

import itertools

import pytest

from kdsearch.patience import AwayError, Patience, UnansweredError


class Server:
    """Answers what it is asked, but for `away` seconds from its first question on."""

    def __init__(self, away: float) -> None:
        self.now = 0.0
        self.away = away
        self.asked = []
        self.said = []

    def ask(self, again: bool) -> str:
        self.asked.append((round(self.now, 3), again))
        if self.now < self.away:
            raise AwayError("connection refused")
        return "answer"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def patience(self, seconds: float, stopping=lambda: False) -> Patience:
        return Patience(
            seconds=seconds,
            tell=lambda text, warning: self.said.append((text, warning)),
            stopping=stopping,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_a_cut_connection_is_mended_at_once_and_in_silence():
    server = Server(away=0.0)
    answers = iter([AwayError("cut"), "answer"])

    def ask(again):
        found = next(answers)
        if isinstance(found, AwayError):
            raise found
        return found, again

    assert server.patience(0)("db", ask) == ("answer", True)
    assert server.said == []


def test_it_asks_again_after_1_2_4_and_so_on_seconds_and_says_so():
    server = Server(away=6.5)
    assert server.patience(60)("the.db", server.ask) == "answer"
    assert server.asked == [(0, False), (0, True), (1, True), (3, True), (7, True)]
    assert [text.rsplit("in ")[-1] for text, warning in server.said if warning] == ["1 s", "2 s", "4 s"]
    assert "connection refused" in server.said[0][0]
    assert server.said[-1] == ("the database the.db answers again", False)


def test_no_two_questions_are_more_than_a_minute_apart():
    server = Server(away=1000)
    server.patience(5000)("db", server.ask)
    times = [when for when, _ in server.asked]
    assert max(b - a for a, b in itertools.pairwise(times)) == pytest.approx(60)


def test_patience_ends_once_and_for_all():
    server = Server(away=1e9)
    patience = server.patience(10)
    with pytest.raises(UnansweredError, match=r"has not answered for 15 s .*the same command goes on"):
        patience("db", server.ask)
    before = server.now
    with pytest.raises(UnansweredError):
        patience("db", server.ask)
    assert server.now == before


def test_who_asks_to_stop_is_heard_while_it_waits():
    server = Server(away=1e9)
    with pytest.raises(UnansweredError):
        server.patience(1e6, stopping=lambda: server.now > 20)("db", server.ask)
    assert 20 < server.now < 21
