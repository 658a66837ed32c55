"""Checksums of what is kept in a database: bytes of it that have changed are found when they are read.

They are against disks and slips, not against people: whoever alters a value can make its sum as well.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

_SEAL = ', "sum": "'
_BESIDE = "_sums"
_encoded = json.JSONEncoder(sort_keys=True).encode


def sum_of(value: object) -> str:
    """64 hexadecimal digits over a JSON-able value as it comes back from JSON."""
    return hashlib.sha256(_encoded(value).encode()).hexdigest()


# texts that end with their sum


def sealed(content: Mapping[str, Any]) -> str:
    """JSON of a mapping that is not empty, whose last member is the sum of the text before it: to be checked without
    reading it.
    """
    text = json.dumps(dict(content))
    return f'{text[:-1]}{_SEAL}{_of_text(text)}"}}'


def unsealed(text: str) -> tuple[dict[str, Any], bool]:
    """What `sealed` was given, and True; for a text of older versions, which has no sum, what it says, and False.
    Raises `ValueError` where the text is not what was written.
    """
    before, seal, its_sum = text.rpartition(_SEAL)
    whole = f"{before}}}" if seal else text
    if seal and its_sum != f'{_of_text(whole)}"}}':
        raise ValueError("it is not what was written")
    return dict(json.loads(whole)), bool(seal)


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# values that change, each written in a transaction of its own


def beside(name: str) -> str:
    """The attribute that has the sums of the attribute `name`."""
    return name + _BESIDE


def change(name: str, before: Any, after: Any, part: Callable[[Any], Any] = lambda value: value) -> dict[str, Any]:
    """What to write, in this order, to change the attribute `name`; None stands for what is not there. Both sums are
    written first, so that a writer that is killed between the two leaves nothing that looks damaged. `part` is what of
    a value has a sum.
    """
    kept = [sum_of(json.loads(json.dumps(part(value)))) for value in (before, after)]
    return {beside(name): kept, name: after}


def held(
    attributes: Mapping[str, Any], name: str, default: Any = None, part: Callable[[Any], Any] = lambda value: value
) -> Any:
    """The attribute `name`, `default` where there is none; older versions wrote no sums. Raises `ValueError` where it
    is not what was written.
    """
    found = attributes.get(name)
    sums = attributes.get(beside(name))
    if sums is not None and sum_of(part(found)) not in sums:
        raise ValueError(f"its {name} is not what was written")
    return found if found is not None else default
