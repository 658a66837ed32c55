"""Studies in Optuna's database as a whole: checked, condemned and erased. Trials are read and written by `store`.

A study that is condemned is refused by every other command, so that nothing half-deleted or half-restored looks whole:
only deleting it (again) is possible.
"""

from collections.abc import Iterator

from kdsearch.database import Database
from kdsearch.facts import FACTS
from kdsearch.legible import IllegibleError
from kdsearch.mistakes import Mistake
from kdsearch.queueing import forget_queue, queue_name
from kdsearch.store import CONDEMNED, Store, study_names


class Rows:
    """The studies of one database, by name."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.storage = database.cached()

    def all_names(self) -> dict[str, int]:
        """Every Optuna study there is, ledgers and other programs' among them, with its id."""
        return {study.study_name: study._study_id for study in self.storage.get_all_studies()}

    def ours(self) -> list[str]:
        """kdsearch's studies, condemned ones not among them."""
        found = []
        for name in study_names(self.storage):
            try:
                found.append(Store(self.storage, name).facts.name)
            except Mistake:
                continue  # another program's, or condemned
        return found

    def condemned(self) -> list[str]:
        names = self.all_names()
        return sorted(name for name, held in names.items() if self.is_condemned(held))

    def is_condemned(self, held: int) -> bool:
        return bool(self.storage.get_study_user_attrs(held).get(CONDEMNED))

    def id_of(self, name: str) -> str | None:
        """The id of the study, also of one that is condemned, empty where its rows do not say it; None where the
        database has no study of that name.
        """
        held = self.all_names().get(name)
        if held is None:
            return None
        facts = self.storage.get_study_user_attrs(held).get(FACTS)
        return str(facts.get("id", "")) if isinstance(facts, dict) else ""

    def condemn(self, name: str, why: str) -> None:
        self.storage.set_study_user_attr(self.all_names()[name], CONDEMNED, why)

    def erase(self, name: str) -> int:
        """Remove a condemned study, its ledgers first; gives how many trials it had. One that is gone has none. The
        queue of its drivers stays (see `forget_queue`), for who calls holds its lease.
        """
        for ledger in self.ledgers_of(name):
            self.erase_ledger(ledger)
        held = self.all_names().get(name)
        if held is None:
            return 0
        trials = self.storage.get_n_trials(held)
        self.storage.delete_study(held)
        return trials

    def erase_restored(self, name: str) -> None:
        """Remove what a restore that failed has written of a study: its rows are condemned till the end."""
        for other in [*self.ledgers_of(name), name]:
            held = self.all_names().get(other)
            if held is not None and self.is_condemned(held):
                self.storage.delete_study(held)

    def ledgers_of(self, name: str) -> list[str]:
        return sorted(other for other in self.all_names() if other.startswith(f"{name}/") and other != queue_name(name))

    def forget_queue(self, name: str) -> None:
        """Remove the last of a study that was erased, once its lease is given back."""
        forget_queue(self.database, name)

    def erase_ledger(self, ledger: str) -> None:
        if (held := self.all_names().get(ledger)) is not None:
            self.storage.delete_study(held)

    def lost_ledgers(self) -> list[str]:
        """Ledgers whose study is gone, or was begun anew under its name."""
        wanted = {Store(self.storage, name).ledger.name for name in self.ours()}
        known = self.all_names()
        ledgers = [name for name in known if "/confirm-" in name and name not in wanted]
        standing = {name for name in known if "/" not in name} - set(self.ours())  # of others, or condemned
        return sorted(name for name in ledgers if name.split("/", 1)[0] not in standing)

    def illegible(self) -> Iterator[tuple[str, str]]:
        """The studies of kdsearch whose facts cannot be read, and why."""
        for name in study_names(self.storage):
            try:
                Store(self.storage, name)
            except IllegibleError as error:
                yield name, error.reason
            except Mistake:
                continue  # another program's, or condemned
