"""MLflow's copy of a study as flaws: whatever is wrong with it, the study is whole, and the copy can be made again."""

from collections.abc import Iterator, Sequence

from kdsearch.ledger import Confirmed
from kdsearch.mistakes import Mistake
from kdsearch.records import StudyFacts, TrialRecord
from kdsearch.reporting import mirrored_pages
from kdsearch.tracking import Discrepancy, Mirror, discrepancies, holds, remove
from kdsearch.upkeep.flaw import Flaw
from kdsearch.workspace import Workspace

_ELSEWHERE = (
    "move mlflow.db and artifacts/ away and run kdsearch doctor --repair, which mirrors every study anew; "
    "or leave it, as long as the old folder can be written"
)


class Copy:
    """The study in MLflow beside what it is."""

    def __init__(
        self, place: Workspace, facts: StudyFacts, records: Sequence[TrialRecord], confirmed: Confirmed
    ) -> None:
        self._place = place
        self._facts = facts
        self._records = list(records)
        self._confirmed = confirmed
        self._found: list[Discrepancy] = []

    def flaws(self) -> Iterator[Flaw]:
        """A store that is away is one flaw; one that was never used, or has nothing of the study, a note."""
        try:
            if not holds(self._place, self._facts):
                yield self._never()
                return
            self._found = list(discrepancies(self._place, self._facts, self._records, self._confirmed))
            yield from map(self._flaw, self._found)
        except Mistake as mistake:
            yield self._away(str(mistake))
        except Exception as error:  # whatever a tracking store does must not keep the rest from being checked
            yield self._away(_first_line(error))

    def mirror(self) -> None:
        """Write what is missing. Raises `Mistake` where the store is away."""
        try:
            Mirror.catch_up(self._place, mirrored_pages, self._facts, self._records, self._confirmed)
        except Mistake:
            raise
        except Exception as error:
            raise Mistake(f"MLflow is away ({_first_line(error)}); try again when it is back") from None

    def _mend(self) -> str:
        """Mend all that was found, once: what is there twice or wrong is removed before the study is mirrored again."""
        found, self._found = self._found, []
        for one in found:
            remove(self._place, self._facts, one)
        if any(one.kind not in ("model", "elsewhere") for one in found):
            self.mirror()
        return f"mended what MLflow has of {self._facts.name}"

    def _flaw(self, found: Discrepancy) -> Flaw:
        name = self._facts.name

        costs = {
            "model": "that version cannot be loaded; exporting the student again registers it anew",
            "elsewhere": "new artifacts are written to the old place, or nowhere",
        }
        return Flaw(
            kind=f"mlflow {found.kind}",
            level="note" if found.kind == "elsewhere" else "warning",
            what=found.what,
            where=f"MLflow, experiment {name}",
            costs=costs.get(found.kind, "MLflow shows less, or other things, than the study has; the study is whole"),
            remedy=_ELSEWHERE if found.kind == "elsewhere" else "kdsearch doctor --repair mirrors the study again",
            mend=None if found.kind == "elsewhere" else self._mend,
        )

    def _never(self) -> Flaw:
        def mend() -> str:
            self.mirror()
            return f"mirrored {self._facts.name} to MLflow"

        return Flaw(
            kind="mlflow never",
            level="note",
            what="MLflow has nothing of this study",
            where="MLflow",
            costs="nothing: the database is what counts",
            remedy="the next kdsearch run mirrors it, or kdsearch doctor --repair",
            mend=mend,
        )

    def _away(self, reason: str) -> Flaw:
        return Flaw(
            kind="mlflow away",
            level="warning",
            what=f"MLflow's store cannot be compared: {reason}",
            where="MLflow",
            costs="nothing of the study: the database is what counts",
            remedy="bring the server back, or name the right one with MLFLOW_TRACKING_URI",
        )


def _first_line(error: Exception) -> str:
    reason = str(error).strip().split("\n")[0][:200]
    return f"{type(error).__name__}: {reason}"
