"""What is said while all segments wait, on a clock that only the test moves."""

from kdsearch.executors.ray_waiting import Waiting


def test_a_wait_of_a_minute_is_told_with_its_reason_and_rarely_again():
    now, rooms = [0.0], [0]
    waiting = Waiting("a processor and 0.25 of a GPU", lambda: rooms[0], lambda: now[0])

    def said(minutes, running=0):
        now[0] = 60 * minutes
        return [note.text for note in waiting.notes(waiting=3, running=running)]

    reason = (
        "3 segments wait: no machine of the cluster has a processor and 0.25 of a GPU; they go on as soon as one comes"
    )
    assert said(0) == said(0.9) == []
    assert said(1) == [reason]
    assert said(2) == said(30) == []
    assert said(31) == [reason]
    assert said(32, running=1) == said(33) == said(33.9) == [], "a wait that begins again"
    rooms[0] = 2
    assert said(34) == ["3 segments wait: the machines of the cluster have other work, or are still starting"]
    assert waiting.notes(waiting=0, running=0) == []
