"""Lists in Optuna's database that tell of a study and make nothing of it: its runs, its surroundings, what was asked.

Each entry is checked by itself: one that was altered is left out and named, and nothing stops for it. The version
before writes such lists too and knows of no sums, so an entry without one is taken as it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from optuna.storages import BaseStorage

from kdsearch.sums import beside, sum_of

T = TypeVar("T")
_SUM = "sum"
_UNFIT = (ValueError, TypeError, KeyError, AttributeError)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is left out of a study's bookkeeping, why, and what drops it from the database."""

    what: str
    reason: str
    drop: Callable[[], None]


class Book(Generic[T]):
    """One such list, an attribute of an Optuna study. Sums stand in the entries, or in an attribute beside the list
    (`apart`) where the version before would stumble over them.
    """

    def __init__(
        self, storage: BaseStorage, study: int, attribute: str, read: Callable[[Any], T], *, apart: bool = False
    ) -> None:
        """`read` makes an entry of its JSON-able value, or raises `ValueError`, `TypeError` or `KeyError`."""
        self._storage = storage
        self._study = study
        self._attribute = attribute
        self._read = read
        self._apart = apart

    def entries(self) -> list[T]:
        """Those that are as they were written, in order."""
        return [entry for _, entry, reason in self._judged() if entry is not None and reason is None]

    def losses(self) -> list[Loss]:
        """The others."""
        return [
            Loss(what=f"entry {number} of its {self._attribute}", reason=reason, drop=self._drop)
            for number, (_, _, reason) in enumerate(self._judged())
            if reason is not None
        ]

    def append(self, content: dict[str, Any]) -> None:
        self._write([*self._stored(), (content, sum_of(content))])

    def replace(self, contents: list[dict[str, Any]]) -> None:
        """All entries by these; sums that are apart do not follow a list that is not only added to."""
        self._forget_sums()
        self._write([(content, sum_of(content)) for content in contents])

    def _drop(self) -> None:
        kept = [stored for stored, _, reason in self._judged() if reason is None]
        self._forget_sums()
        self._write(kept)

    def _judged(self) -> Iterator[tuple[tuple[Any, Any], T | None, str | None]]:
        """What is stored, the entry where it is one, else why it is none."""
        for stored in self._stored():
            content, its_sum = stored
            try:
                if its_sum is not None and its_sum != sum_of(content):
                    raise ValueError("it is not what was written")
                yield stored, self._read(content), None
            except _UNFIT as error:
                yield stored, None, str(error)

    def _stored(self) -> list[tuple[Any, Any]]:
        """Each entry as it is stored, and its sum or None. What is no list is one entry, which none can read."""
        attributes = self._storage.get_study_user_attrs(self._study)
        found = attributes.get(self._attribute)
        values = found if isinstance(found, list) else [] if found is None else [found]
        if not self._apart:
            return [_parted(value) for value in values]
        sums = attributes.get(beside(self._attribute))
        known = sums if isinstance(sums, list) else []
        return list(zip(values, [*known, *[None] * len(values)], strict=False))

    def _write(self, stored: list[tuple[Any, Any]]) -> None:
        """The list before the sums that are apart: a writer killed between the two leaves an entry without one."""
        if self._apart:
            self._set(self._attribute, [content for content, _ in stored])
            self._set(beside(self._attribute), [its_sum for _, its_sum in stored])
        else:
            self._set(self._attribute, [{**one, _SUM: its} if its is not None else one for one, its in stored])

    def _forget_sums(self) -> None:
        if self._apart:
            self._set(beside(self._attribute), [])

    def _set(self, attribute: str, value: Any) -> None:
        self._storage.set_study_user_attr(self._study, attribute, value)


def _parted(value: Any) -> tuple[Any, Any]:
    if not isinstance(value, dict):
        return value, None
    return {name: part for name, part in value.items() if name != _SUM}, value.get(_SUM)
