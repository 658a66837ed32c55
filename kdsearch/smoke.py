"""The parts of a study shrunk to seconds: what `Study.smoke` is put together from."""

import dataclasses

from kdsearch.data.base import Data, Split
from kdsearch.recipe import Recipe
from kdsearch.stages import Start
from kdsearch.teacher import Teacher


def fewer(data: Data) -> Data:
    """The first examples of each split, of every class."""

    def few(split: Split, examples: int) -> Split:
        head = split.head(max(examples, 20 * data.classes))
        # a random part could lack a rare class, which Data would refuse
        return head if len(head.labels.unique()) == data.classes else split

    return dataclasses.replace(
        data,
        name=f"{data.name}-smoke",
        train=few(data.train, 512),
        validation=few(data.validation, 256),
        test=few(data.test, 256),
    )


def short(teacher: Teacher) -> Teacher:
    """Two epochs at most."""
    return dataclasses.replace(teacher, epochs=min(teacher.epochs, 2))


def soon(start: Start | None) -> Start | None:
    """One epoch, where there is a start."""
    return dataclasses.replace(start, epochs=1) if start is not None else None


def brief(recipe: Recipe) -> Recipe:
    """One epoch of distilling, one of the start; what is no recipe is left for the study to refuse."""
    if not isinstance(recipe, Recipe):
        return recipe
    start = soon(recipe.start)
    return dataclasses.replace(recipe, start=start, epochs=2 if start is not None else 1)
