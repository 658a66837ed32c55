"""How trials come into a study: proposed, screened, seeded and written to the database before their first segment."""

import dataclasses
from collections.abc import Callable
from typing import Any

from optuna.trial import TrialState

from kdsearch.events import Listener, Note, TrialEnded
from kdsearch.keeping import Keeper
from kdsearch.mistakes import Mistake, UserCodeError
from kdsearch.prepare import Prepared
from kdsearch.recipe import Recipe
from kdsearch.records import Inherited, TrialRecord
from kdsearch.sampling import BrokenProposalError, ExhaustedError, Proposal, Proposals
from kdsearch.space import replay
from kdsearch.store import Store
from kdsearch.trial import Seeds
from kdsearch.underway import UnderWay

_SCREENED_IN_A_ROW = 200
_BROKEN_IN_A_ROW = 5
_OF_THE_RECIPE = ("recipe", "described", "fingerprint", "proposed", "seeds", "known")


class Intake:
    """Adds trials to one study's database; the only one that does."""

    def __init__(
        self,
        prepared: Prepared,
        store: Store,
        proposals: Proposals,
        keeper: Keeper,
        tell: Listener,
        clock: Callable[[], float],
    ) -> None:
        self._study = prepared.study
        self._screen = prepared.screen
        self._store = store
        self._proposals = proposals
        self._keeper = keeper
        self._tell = tell
        self._clock = clock
        self._next = len(store.frozen_trials())
        self._broken_in_a_row = 0

    def fresh(self) -> tuple[int, UnderWay | None]:
        """A new trial and its number; without the trial where the study's own code raised on the proposal.

        Raises `ExhaustedError` where the space holds no more, and what the study's code raises if it does so again and
        again.
        """
        for _ in range(_SCREENED_IN_A_ROW):
            try:
                proposal = self._proposals.propose(self._next)
            except BrokenProposalError as broken:
                return self._broken(broken), None
            self._broken_in_a_row = 0
            while self._proposals.notes:
                self._tell(Note(self._proposals.notes.pop(0)))
            number, seeds = self._add(proposal)
            if proposal.candidate.reason is None:
                return number, UnderWay(proposal.candidate.recipe, seeds, proposal.known, self._clock)
            self._proposals.told(number, TrialState.PRUNED)
            self._tell(TrialEnded(self._store.record(number)))
        raise ExhaustedError(
            f"{_SCREENED_IN_A_ROW} proposals in a row could not work; the last because: {proposal.candidate.reason}"
        )

    def again(self, record: TrialRecord) -> UnderWay:
        """A trial that an earlier run began, as it was before its first segment."""
        return UnderWay(
            self._recipe(record), Seeds(**record.seeds), record.known, self._clock, inherited=record.inherited
        )

    def continued(self, pruned: int) -> tuple[int, UnderWay]:
        """A new trial that goes on from the kept state of a pruned one: what Optuna was told of that is final.

        It has the other's parameters and seeds, so that it ends as the other would have. Raises `DamagedError`.
        """
        record = self._store.record(pruned)
        trial = UnderWay(self._recipe(record), Seeds(**record.seeds), record.known, self._clock)
        trial.state, trial.curve = self._keeper.recall(pruned)
        trial.inherited = Inherited(kind="trial", trial=pruned, epochs=trial.epoch)
        frozen = self._store.frozen_trials()[pruned]
        number = self._write(
            params=record.params,
            distributions=frozen.distributions,
            system_attrs={},
            attrs={
                **{name: frozen.user_attrs[name] for name in _OF_THE_RECIPE},
                "inherited": dataclasses.asdict(trial.inherited),
            },
        )
        self._keeper.hand_over(pruned, number)
        self._proposals.continued(pruned, number)
        return number, trial

    def _recipe(self, record: TrialRecord) -> Recipe:
        return self._screen(replay(self._study.space, record.params)[0]).recipe

    def _add(self, proposal: Proposal) -> tuple[int, Seeds]:
        recipe = proposal.candidate.recipe
        seeds = Seeds.of(self._study.seed, recipe, self._next)
        number = self._write(
            params=proposal.params,
            distributions=proposal.distributions,
            system_attrs=proposal.system_attrs,
            attrs={
                "recipe": recipe.to_json(),
                "described": recipe.describe(),
                "fingerprint": recipe.fingerprint(),
                "proposed": proposal.proposed,
                "seeds": dataclasses.asdict(seeds),
                "known": proposal.known,
            },
            screened=proposal.candidate.reason,
        )
        self._proposals.accepted(number, proposal.token)
        return number, seeds

    def _broken(self, broken: BrokenProposalError) -> int:
        """The user's own code raised on a proposal: a failed trial, unless it does so again and again."""
        self._broken_in_a_row += 1
        if self._broken_in_a_row > _BROKEN_IN_A_ROW:
            raise broken.error
        number = self._write(
            params=broken.params, distributions=broken.distributions, system_attrs={}, attrs={}, failed=str(broken)
        )
        if isinstance(broken.error, UserCodeError):
            log = self._keeper.log(number, broken.error.trace)
            self._tell(Note(f"trial {number} raised; its traceback is in {log}"))
        self._tell(TrialEnded(self._store.record(number)))
        return number

    def _write(self, **trial: Any) -> int:
        number = self._store.add(**trial)
        if number != self._next:
            raise Mistake(
                f"another driver, of another workspace, writes to the study {self._study.name!r}; end one of them"
            )
        self._next += 1
        return number
