"""The database against itself and against the files: rows that cannot be read, students and states that are not there,
ledgers of studies that are gone.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from kdsearch.bookkeeping import Loss
from kdsearch.ledger import Confirmed
from kdsearch.legible import IllegibleError
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.store import Store
from kdsearch.upkeep.flaw import Flaw
from kdsearch.upkeep.rows import Rows
from kdsearch.upkeep.shelf import FREED
from kdsearch.workspace import Workspace

_BACKUP = "restore it from a backup or from an archive of its studies; sqlite3's .recover saves what can be read"


def of_a_file(database: Path, costs: str) -> Iterator[Flaw]:
    """SQLite's own check of a database file; nothing where there is none."""
    if not database.exists():
        return
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            said = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        said = [str(error)]
    if said != ["ok"]:
        yield Flaw(
            kind="database damaged",
            level="error",
            what=f"SQLite finds the file damaged: {'; '.join(said)[:300]}",
            where=str(database),
            costs=costs,
            remedy=_BACKUP,
        )


def of_the_facts(rows: Rows, name: str | None) -> Iterator[Flaw]:
    """The study `name`, or all studies, whose facts cannot be read."""
    for illegible, reason in rows.illegible():
        if name in (None, illegible):
            yield _unreadable(illegible, "what is known of the study", reason)


def of_the_rows(store: Store) -> Iterator[Flaw]:
    """Trials and runs on fresh seeds that cannot be read."""
    for what, error in store.unreadable():
        yield _unreadable(store.facts.name, what, error.reason if isinstance(error, IllegibleError) else str(error))


def of_the_account(store: Store) -> Iterator[Flaw]:
    """Runs, surroundings and questions that are left out: no trial depends on them."""
    for lost in store.left_out():

        def drop(lost: Loss = lost) -> str:
            lost.drop()
            return f"dropped {lost.what} from the database"

        yield Flaw(
            kind="account damaged",
            level="warning",
            what=f"{lost.what} is left out: {lost.reason}",
            where=store.facts.name,
            costs="what it said is not in the account of the study; its trials are whole",
            remedy=f"kdsearch doctor {store.facts.name} --repair drops it",
            mend=drop,
        )


def _unreadable(name: str, what: str, reason: str) -> Flaw:
    return Flaw(
        kind="rows damaged",
        level="error",
        what=f"{what} cannot be read from the database: {reason}",
        where=name,
        costs="the study can be neither shown nor continued",
        remedy=_BACKUP,
    )


def of_the_ledgers(rows: Rows) -> Iterator[Flaw]:
    """Runs on fresh seeds of studies that are gone, or were begun anew under their names: nobody reads them."""
    for ledger in rows.lost_ledgers():

        def erase(ledger: str = ledger) -> str:
            rows.erase_ledger(ledger)
            return f"removed the ledger {ledger} from the database"

        yield Flaw(
            kind="ledger orphaned",
            level="warning",
            what=f"the ledger {ledger} is of a study that is gone",
            where="database",
            costs="space in the database",
            remedy="kdsearch doctor --repair removes it",
            mend=erase,
        )


def of_the_files(
    place: Workspace, facts: StudyFacts, records: Sequence[TrialRecord], confirmed: Confirmed, *, alive: bool
) -> Iterator[Flaw]:
    """What the database says is there and is not."""
    freed = freed_students(place, facts.name)
    for record in records:
        if record.state == "complete" and record.number not in freed:
            if not place.student(facts.name, record.number).exists():
                yield _gone(place, facts, record)
        elif record.state == "running" and not alive and not _has_state(place, facts, record):
            yield Flaw(
                kind="state missing",
                level="note",
                what=f"trial {record.number} is running and has no state: it begins again",
                where=str(place.checkpoint(facts.name, record.number)),
                costs="its epochs so far; none where it had not come to its first checkpoint",
                remedy="kdsearch run does so",
            )
    complete = {record.number for record in records if record.state == "complete"}
    for question in confirmed.questions:
        if question.trial is not None and question.trial not in complete:
            yield Flaw(
                kind="ledger differs",
                level="error",
                what=f"the ledger asks about trial {question.trial}, which is not complete",
                where=facts.name,
                costs="what fresh seeds gave stands beside no trial",
                remedy=_BACKUP,
            )


def freed_students(place: Workspace, name: str) -> set[int]:
    """The trials whose students `kdsearch gc` removed on request."""
    path = place.study(name) / "students" / FREED
    try:
        return {int(number) for number in json.loads(path.read_text(encoding="utf-8"))}
    except (FileNotFoundError, ValueError, TypeError):
        return set()


def _has_state(place: Workspace, facts: StudyFacts, record: TrialRecord) -> bool:
    holders = [record.number, *([record.continues] if record.continues is not None else [])]
    return any(place.checkpoint(facts.name, number).exists() for number in holders)


def _gone(place: Workspace, facts: StudyFacts, record: TrialRecord) -> Flaw:
    return Flaw(
        kind="student missing",
        level="error",
        what=f"trial {record.number} is complete and the weights of its student are gone",
        where=str(place.student(facts.name, record.number)),
        costs="the student cannot be exported; trained again it has the same bits on the same kind of machine",
        remedy=f"kdsearch export {facts.name} --trial {record.number} --recreate --to DIR trains them again",
    )
