"""What the database has of a study is read as it was written, or refused by name. Real SQLite, altered by SQL."""

import json
import re
import shutil
import sqlite3
from dataclasses import asdict, replace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection

from kdsearch.ledger import Arm, Question, RepeatRecord
from kdsearch.legible import IllegibleError
from kdsearch.mistakes import Mistake
from kdsearch.opening import open_database, open_storage
from kdsearch.records import Inherited, Session, StudyFacts
from kdsearch.store import Store, is_stored
from kdsearch.surroundings import Surroundings
from kdsearch.upkeep.against import of_the_account, of_the_facts, of_the_rows
from kdsearch.upkeep.rows import Rows

FACTS = StudyFacts(
    id="abc123",
    name="small",
    card="",
    file="study.py",
    smoke=False,
    objectives=["accuracy", "parameters"],
    seed=3,
    data={"name": "made", "fingerprint": "f1", "classes": 10, "train": 50, "validation": 5, "test": 10},
    teacher={"key": "k1", "parameters": 1000, "members": 1, "accuracy": 0.0},
    reference={"accuracy": 0.1, "parameters": 1000},
)
LINE = {"stage": "distil", "epoch": 1, "loss": 1.25, "seconds": 0.5, "evaluation_seconds": 0.25}
GIVEN = {
    "params": {"width": 4, "temperature": 2, "start": "none2"},
    "distributions": {
        "width": IntDistribution(2, 64),
        "temperature": FloatDistribution(1, 20),
        "start": CategoricalDistribution(("none1", "none2")),
    },
    "system_attrs": {"constraints": [1.5]},
    "attrs": {
        "recipe": {"width": 4},
        "described": {"temperature": 1.91},
        "fingerprint": "f123",
        "proposed": "p123",
        "seeds": {"start": 11, "distil": 12},
        "known": {"parameters": 2573},
    },
}
REPEAT = RepeatRecord(
    arm="arm",
    seed=1,
    label="distilled",
    state="complete",
    fingerprint="f",
    recipe={"width": 4},
    described={},
    seeds={"start": 1},
    known={},
    measured={"accuracy": 0.5, "test_accuracy": 0.75},
    curve=[LINE],
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A database with a complete, a pruned, a failed, a screened and two running trials, a ledger and all the rest."""
    path = tmp_path_factory.mktemp("store") / "optuna.db"
    store = Store.create(open_storage(f"sqlite:///{path}", create=True), FACTS)
    store.note_teacher_accuracy(0.95)
    for _ in range(4):
        store.add(**GIVEN)
    store.add(**GIVEN, screened="too large 7")
    store.add(params={}, distributions={}, system_attrs={}, attrs={}, failed="raised 7")
    store.complete(0, [0.5, 2573], {"accuracy": 0.5, "parameters": 2573}, [LINE], {"distil": 0.5})
    store.inherits(1, Inherited(kind="trial", trial=0, epochs=5))
    store.prune(1, "waits 7", [LINE], {"distil": 0.5}, [0.25, 2573])
    store.fail(2, "fails 7", [LINE], {"distil": 0.5})
    store.inherits(3, Inherited(kind="start", trial=0, epochs=5))
    session = Session(began_ms=17, seconds=2.5, workers=1.5, busy_seconds=1.5, student_seconds=1.25, epochs=3)
    store.add_session(session)
    store.add_session(replace(session, began_ms=18))
    store.note_surroundings(
        Surroundings(versions={}, processor="x", threads=1, engine="local", seed=3, data="f", teacher="k")
    )
    store.ledger.ask(
        [Question(name="confirm", trial=0, arms=(Arm(label="a", key="k1", fingerprint="f"),), seeds=(0, 1))]
    )
    store.ledger.add(REPEAT)
    store.ledger.note_teacher(0.875)
    return path


def opened(path):
    return Store(open_storage(f"sqlite:///{path}", create=False), "small")


def test_what_was_written_is_read(made):
    store = opened(made)
    assert list(store.unreadable()) == []
    records = store.records()
    assert [record.state for record in records] == ["complete", "pruned", "failed", "running", "screened", "failed"]
    assert records[0].seeds == {"start": 11, "distil": 12}
    assert records[0].curve == [LINE]
    assert [record.reason for record in records[1:]] == ["waits 7", "fails 7", None, "too large 7", "raised 7"]
    assert records[3].inherited == Inherited(kind="start", trial=0, epochs=5)
    assert [session.began_ms for session in store.sessions()] == [17, 18]
    assert store.facts.teacher["accuracy"] == 0.95
    assert store.ledger.read().records == (REPEAT,)
    assert store.records()[0] is records[0]  # nothing that is over is read twice


def test_rows_of_older_versions_have_no_sums_and_are_read_all_the_same(made, tmp_path):
    shutil.copy(made, tmp_path / "optuna.db")
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("delete from trial_user_attributes where key in ('added', 'began_ms', 'sum')")
        database.execute("delete from study_user_attributes where key like '%_sums'")
        for trial, text in database.execute(
            "select trial_id, value_json from trial_user_attributes where key = 'result'"
        ):
            content = json.loads(json.loads(text))
            older = json.dumps(json.dumps({name: content[name] for name in ("curve", "spent", "measured")}))
            change = "update trial_user_attributes set value_json = ? where trial_id = ? and key = 'result'"
            database.execute(change, (older, trial))
    store = opened(tmp_path / "optuna.db")
    assert list(store.unreadable()) == []
    then, now = store.records(), opened(made).records()
    assert [(one.seeds, one.curve, one.reason) for one in then] == [(one.seeds, one.curve, one.reason) for one in now]


TRIAL = "trial_user_attributes set value_json = {} where key = '{}' and trial_id = {}"
STUDY = "study_user_attributes set value_json = {} where key = '{}'"
DAMAGES = [
    *((name, TRIAL, name, trial) for name in ("recipe", "seeds", "known", "described", "proposed") for trial in (1, 4)),
    *(("fingerprint", TRIAL, "fingerprint", trial) for trial in (2, 5)),
    *(("began_ms", TRIAL, "began_ms", trial) for trial in (1, 4)),
    *(("results", TRIAL, "result", trial) for trial in (1, 2, 3, 6)),
    *(("reason", TRIAL, "reason", trial) for trial in (2, 3, 6)),
    ("standing", TRIAL, "standing", 2),
    ("screened", TRIAL, "screened", 5),
    ("inherited", TRIAL, "inherited", 2),
    ("it", TRIAL, "added", 4),
    ("kdsearch", STUDY, "kdsearch", None),
    ("run 0", TRIAL, "run", 7),
    ("params", "trial_params set param_value = 3 where param_name = 'width' and trial_id = {2}", "params", 4),
    ("params", "trial_params set param_value = 0 where param_name = 'start' and trial_id = {2}", "params", 4),
    ("values", "trial_values set value = 1573 where objective = 1 and trial_id = {2}", "values", 1),
    ("value", "trial_values set value = 0.5 where trial_id = {2}", "values", 7),
    (
        "ranges",
        "trial_params set distribution_json = replace(distribution_json, '64', '65') where trial_id = {2}",
        "",
        4,
    ),
    (
        "system_attrs",
        "trial_system_attributes set value_json = '[2.5]' where key = 'constraints' and trial_id = {2}",
        "",
        4,
    ),
]


@pytest.mark.parametrize(("said", "where", "key", "trial"), DAMAGES)
def test_a_digit_that_was_altered_is_named_by_reading_and_by_doctor(made, tmp_path, said, where, key, trial):
    shutil.copy(made, tmp_path / "optuna.db")
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        arguments = []
        if where in (TRIAL, STUDY):
            chosen = where.format("?", key, trial).split(" where ")[1]
            (text,) = database.execute(f"select value_json from {where.split()[0]} where {chosen}").fetchone()
            arguments = [flipped(text)]
        assert database.execute("update " + where.format("?", key, trial), arguments).rowcount
    with pytest.raises(IllegibleError, match=re.escape(said)) as raised:
        read_all(tmp_path / "optuna.db")
    assert "kdsearch doctor small" in str(raised.value)
    rows = Rows(open_database(f"sqlite:///{tmp_path / 'optuna.db'}", create=False))
    flaw, *more = [*of_the_facts(rows, "small")] or of_the_rows(opened(tmp_path / "optuna.db"))
    assert not more
    assert said in flaw.what
    if trial is not None and trial < 7:
        assert f"trial {trial - 1}" in flaw.what


def read_all(path):
    store = opened(path)
    return store.records(), store.ledger.read()


def bookkeeping(store):
    ledger = store.ledger.read()
    return [*store.sessions(), *store.surroundings(), *ledger.questions, ledger.teacher_test_accuracy]


@pytest.mark.parametrize("key", ["sessions", "made_with", "questions", "teacher_test_accuracy"])
@pytest.mark.parametrize("torn", [None, "5", '[{"began_ms": 5}, 7]'])
def test_bookkeeping_that_was_altered_is_left_out_named_and_dropped_and_stops_nothing(made, tmp_path, key, torn):
    if key == "teacher_test_accuracy" and torn == "5":
        torn = '"5"'
    shutil.copy(made, tmp_path / "optuna.db")
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        where = f"where key = '{key}'"
        (text,) = database.execute(f"select value_json from study_user_attributes {where}").fetchone()
        database.execute(f"update study_user_attributes set value_json = ? {where}", [torn or flipped(text)])
    store, whole = opened(tmp_path / "optuna.db"), bookkeeping(opened(made))
    assert list(store.unreadable()) == []
    left = [one for one in bookkeeping(store) if one is not None]
    assert len(left) < len(whole) and all(one in whole for one in left)
    flaws = list(of_the_account(store))
    assert flaws and all(("teacher" if key.startswith("teacher") else key) in flaw.what for flaw in flaws)
    for flaw in flaws:
        flaw.mend()
    assert store.left_out() == []
    assert [one for one in bookkeeping(store) if one is not None] == left
    store.add_session(whole[0])
    store.note_surroundings(replace(whole[2], threads=2))
    store.ledger.note_teacher(0.75)
    assert store.left_out() == []


def test_what_the_version_before_adds_and_alters_without_sums_is_taken_as_it_is(made, tmp_path):
    shutil.copy(made, tmp_path / "optuna.db")
    storage = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}", create=False)
    store = opened(tmp_path / "optuna.db")
    before = store.sessions()
    study = storage.get_study_id_from_name("small")
    later = [*map(asdict, before), {**asdict(before[0]), "began_ms": 19, "workers": 2}]
    storage.set_study_user_attr(study, "sessions", later)
    ledger = storage.get_study_id_from_name(store.ledger.name)
    (question,) = store.ledger.read().questions
    storage.set_study_user_attr(ledger, "questions", [asdict(replace(question, seeds=(0, 1, 2)))])
    shared = Inherited(kind="start", trial=1, epochs=2)
    running = storage.get_trial_id_from_study_id_trial_number(study, 3)
    storage.set_trial_user_attr(running, "inherited", asdict(shared))
    assert (list(store.unreadable()), store.left_out()) == ([], [])
    assert store.ledger.read().questions[0].seeds == (0, 1, 2)
    assert store.record(3).inherited == shared
    store.add_session(before[0])
    assert [one.began_ms for one in store.sessions()] == [17, 18, 19, 17]
    assert storage.get_study_user_attrs(study)["sessions"][:3] == later, "the version before reads them yet"
    assert storage.get_study_user_attrs(study)["sessions_sums"][2] is None


def test_facts_that_the_version_before_completed_are_read_and_those_completed_here_are_strict(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    storage, unmeasured = open_storage(url, create=True), {**FACTS.teacher, "accuracy": float("nan")}
    store = Store.create(storage, replace(FACTS, teacher=unmeasured))
    study = storage.get_study_id_from_name("small")
    storage.set_study_user_attr(study, "kdsearch", asdict(FACTS))
    assert opened(tmp_path / "optuna.db").facts == FACTS
    store.note_teacher_accuracy(0.5)
    storage.set_study_user_attr(study, "kdsearch", asdict(FACTS))
    with pytest.raises(IllegibleError, match="kdsearch is not what was written"):
        opened(tmp_path / "optuna.db")


@pytest.mark.parametrize("written", [(), ("kdsearch_sums",)])
def test_a_study_whose_creation_was_killed_is_created_anew(tmp_path, written):
    storage = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}", create=True)
    study = storage.create_new_study([StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE], "small")
    for name in written:
        storage.set_study_user_attr(study, name, ["", ""])
    with pytest.raises(Mistake, match="run it again where its creation was interrupted"):
        Store(storage, "small")
    assert not is_stored(storage, "small", FACTS.objectives)
    assert Store.create(storage, FACTS).facts == FACTS
    assert is_stored(storage, "small", FACTS.objectives)


def test_an_empty_study_of_another_program_is_none_whose_creation_was_killed(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path / 'optuna.db'}", create=True)
    both = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
    storage.create_new_study([StudyDirection.MINIMIZE], "other directions")
    storage.set_study_user_attr(storage.create_new_study(both, "other attributes"), "theirs", 1)
    assert is_stored(storage, "other directions", FACTS.objectives)
    assert is_stored(storage, "other attributes", FACTS.objectives)


def test_a_study_without_a_direction_of_its_own_is_damaged(made, tmp_path):
    shutil.copy(made, tmp_path / "optuna.db")
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("delete from study_directions where objective = 1")
    with pytest.raises(IllegibleError, match="directions are not those of its objectives"):
        opened(tmp_path / "optuna.db")


@pytest.mark.parametrize("end", ["prune", "fail"])
def test_a_driver_killed_while_it_ends_a_trial_leaves_it_running_and_the_next_may_complete_it(made, tmp_path, end):
    shutil.copy(made, tmp_path / "optuna.db")
    store = opened(tmp_path / "optuna.db")
    ends = {
        "prune": lambda: store.prune(3, "waits", [LINE], {"distil": 0.5}, None),
        "fail": lambda: store.fail(3, "fails", [LINE], {"distil": 0.5}),
    }
    ends[end]()
    with sqlite3.connect(tmp_path / "optuna.db") as database:  # the state is written last
        database.execute("update trials set state = 'RUNNING', datetime_complete = null where number = 3")
    running = opened(tmp_path / "optuna.db").record(3)
    assert (running.state, running.reason, running.curve, running.epochs_trained) == ("running", None, [], 0)
    store = opened(tmp_path / "optuna.db")
    store.complete(3, [0.5, 2573], {"accuracy": 0.5, "parameters": 2573}, [LINE, LINE], {"distil": 0.5})
    complete = opened(tmp_path / "optuna.db").record(3)
    assert (complete.state, complete.reason, len(complete.curve)) == ("complete", None, 2)


def flipped(text):
    """The last digit of what is before a sum, if there is one, plus one: still JSON, and of the same form."""
    place = max(found.start() for found in re.finditer(r"\d", text.split(', \\"sum\\"')[0]))
    return text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]


def test_a_writer_that_is_killed_between_a_sum_and_its_value_leaves_nothing_that_looks_damaged(made, tmp_path):
    shutil.copy(made, tmp_path / "optuna.db")
    store = opened(tmp_path / "optuna.db")
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        kept = database.execute("select key, value_json from study_user_attributes where key = 'sessions'").fetchall()
    store.add_session(store.sessions()[0])
    with sqlite3.connect(tmp_path / "optuna.db") as database:
        database.execute("update study_user_attributes set value_json = ? where key = ?", kept[0][::-1])
    assert len(opened(tmp_path / "optuna.db").sessions()) == 2
