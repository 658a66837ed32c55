import pytest
import torch

from kdsearch.accounting import Timesheet, account
from kdsearch.records import Inherited, Session, TrialRecord
from kdsearch.training import TrainState
from kdsearch.trial import Progress, TrialState


def line(stage: str, seconds: float = 1.0) -> dict[str, object]:
    return {"stage": stage, "seconds": seconds, "evaluation_seconds": 0.25}


def record(number: int, state: str, stages: list[str], **changes: object) -> TrialRecord:
    whole = {
        "number": number,
        "state": state,
        "params": {},
        "recipe": {},
        "described": {"start_epochs": 2, "epochs": 6},
        "fingerprint": "",
        "seeds": {},
        "known": {},
        "curve": [line(stage) for stage in stages],
    }
    return TrialRecord(**whole | changes)


SESSION = Session(began_ms=0, seconds=100.0, workers=2, busy_seconds=180.0, student_seconds=150.0, epochs=10)


def test_what_was_saved_is_counted_by_what_saved_it():
    records = [
        record(0, "complete", ["pretrain"] * 2 + ["distil"] * 4, spent={"distil": 4.0, "waiting": 1.0}),
        record(1, "pruned", ["pretrain"] * 2 + ["distil"], inherited=Inherited(kind="start", trial=0, epochs=2)),
        record(2, "pruned", ["hints"] * 2 + ["distil"], spent={"distil": 1.0}),
        # goes on from where trial 2 stood, so that nothing was saved by stopping that one
        record(3, "complete", ["hints"] * 2 + ["distil"] * 4, inherited=Inherited(kind="trial", trial=2, epochs=3)),
        record(4, "screened", []),
    ]
    found = account(records, [SESSION])
    assert found["seconds"] == {"distil": 5.0, "waiting": 1.0}
    assert found["epochs_trained"] == 6 + 1 + 3 + 3
    assert found["epochs_saved"] == {"early_stopping": 3, "shared_starts": 2}
    assert found["teacher_passes_saved"] == 4 + 1 + 3 + 3, "pretraining has no need of the teacher"


def test_shares_are_of_all_workers_time_in_all_runs():
    second = Session(began_ms=1, seconds=50.0, workers=4, busy_seconds=100.0, student_seconds=50.0, epochs=3)
    found = account([], [SESSION, second])
    assert found["busy_share"] == pytest.approx(280 / 400)
    assert found["student_share"] == pytest.approx(200 / 400)
    assert account([], [])["busy_share"] is None


def test_a_timesheet_adds_up_one_run():
    now = [10.0]
    sheet = Timesheet(3, lambda: now[0])
    assert sheet.session() is None, "nothing was trained"
    state = TrialState(epoch=2, train=TrainState(epoch=2, module={"w": torch.zeros(1)}, optimizer={}))
    curve = [line("distil", 2.0), line("distil", 3.0)]
    sheet.add(Progress(trial=0, state=state, curve=curve, worked_seconds=6.5, measuring_seconds=0.5))
    now[0] = 30.0
    session = sheet.session()
    assert (session.seconds, session.workers, session.epochs) == (20.0, 3, 2)
    assert (session.busy_seconds, session.student_seconds) == (6.5, 6.0)
