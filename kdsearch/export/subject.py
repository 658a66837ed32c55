"""What is exported: a trained student and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from kdsearch.confirm import recipe_of
from kdsearch.files import DamagedError, load_tensors
from kdsearch.mistakes import Mistake
from kdsearch.prepare import Prepared
from kdsearch.recipe import Recipe
from kdsearch.records import TrialRecord
from kdsearch.trial import Seeds

TrainedOn = Literal["train", "train and validation"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A student trained by `recipe` (its hint layers named) from `seeds`, in the study that is `prepared`.

    `searched` is the accuracy that the search saw on the validation split, which the export must show again; None where
    there is none to show, as after training on that split too. `confirmed` is what fresh seeds gave for the recipe;
    `command` what made the student, where it was no search.
    """

    prepared: Prepared
    trial: int
    params: Mapping[str, Any]
    recipe: Recipe
    seeds: Seeds
    weights: Mapping[str, Tensor]
    searched: float | None
    trained_on: TrainedOn = "train"
    confirmed: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None

    def module(self) -> nn.Module:
        """The student's network with its weights, in evaluation mode."""
        data = self.prepared.data
        network = self.recipe.student.build(data.shape, data.classes)
        network.load_state_dict(dict(self.weights))
        return network.eval()


def kept(prepared: Prepared, record: TrialRecord, confirmed: Mapping[str, Any] | None = None) -> Subject:
    """The student that a complete trial left in the workspace. Raises `Mistake` where the trial is not complete, or its
    weights are gone or damaged.
    """
    check_complete(record)
    path = prepared.workspace.student(prepared.study.name, record.number)
    remedy = "--recreate trains them again from the recipe"
    try:
        weights, _ = load_tensors(path)
    except FileNotFoundError:
        raise Mistake(f"the weights of trial {record.number} are gone ({path}); {remedy}") from None
    except DamagedError as error:
        raise Mistake(f"the weights of trial {record.number} are damaged ({error}); {remedy}") from None
    return searched(prepared, record, weights, confirmed)


def searched(
    prepared: Prepared,
    record: TrialRecord,
    weights: Mapping[str, Tensor],
    confirmed: Mapping[str, Any] | None = None,
) -> Subject:
    """The student of a complete trial with these weights, which are the search's own."""
    return Subject(
        prepared=prepared,
        trial=record.number,
        params=record.params,
        recipe=recipe_of(prepared, record),
        seeds=Seeds(**record.seeds),
        weights=weights,
        searched=record.measured["accuracy"],
        confirmed=confirmed or {},
    )


def check_complete(record: TrialRecord) -> None:
    """Raise `Mistake` for a trial that has no trained student."""
    if record.state == "complete":
        return
    why = f" ({record.reason})" if record.reason else ""
    wait = "; it may still become one: look again later" if record.state == "running" else ""
    raise Mistake(f"trial {record.number} is {record.state}{why}; only a complete trial has a student to export{wait}")
