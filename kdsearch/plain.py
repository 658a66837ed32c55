"""Frozen dataclasses of plain values: what can be written down, compared and repeated."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from numbers import Real
from types import UnionType
from typing import Any, Literal, TypeGuard, TypeVar, get_args, get_origin, get_type_hints

from kdsearch.mistakes import Mistake

_T = TypeVar("_T")
_PLAIN = (str, int, float, bool, type(None))
_NUMBERS = (float, int)
_LATER = "later"
LATER: Mapping[str, bool] = {_LATER: True}
"""Metadata of a dataclass's field that came after values without it were written down: `as_json` leaves it out where
it has its default, so that what was written then is still equal.
"""


def is_number(value: object) -> TypeGuard[float]:
    """Whether `value` can be compared with 0 as a number; True and False are none."""
    # most are one of the two; whether a value is Real takes ten times as long to find out
    return type(value) in _NUMBERS or (isinstance(value, Real) and not isinstance(value, bool))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_frozen(value: object) -> bool:
    """Whether `value` is an instance of a frozen dataclass."""
    made = getattr(type(value), "__dataclass_params__", None)
    return made is not None and bool(made.frozen)


def as_json(value: object) -> dict[str, Any]:
    """A frozen dataclass of plain values as JSON-able values with its class's name; a `Mistake` for any other field.

    Fields marked `LATER` are left out where they have their default.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise Mistake(f"{type(value).__name__} must be a frozen dataclass")
    result: dict[str, Any] = {"kind": type(value).__name__}
    for spec in dataclasses.fields(value):
        held = getattr(value, spec.name)
        if _LATER in spec.metadata and held == spec.default:
            continue
        parts = held if isinstance(held, tuple) else (held,)
        if not all(isinstance(part, _PLAIN) for part in parts):
            raise Mistake(
                f"{type(value).__name__}.{spec.name} must be a number, string, boolean, None or a tuple of these, "
                f"got {type(held).__name__}; a recipe has to be written down to be compared and repeated"
            )
        result[spec.name] = list(parts) if isinstance(held, tuple) else held
    return result


def from_json(kind: type[_T], content: object) -> _T:
    """The dataclass `kind` from its fields as JSON gives them, checked: what was written long ago, or by
    anybody, may be of any form. Raises `ValueError` that names what is missing, unknown or of another type.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{kind.__name__} is {_short(content)}")
    fits = _checks(kind)
    if unknown := content.keys() - fits.keys():
        raise ValueError(f"{kind.__name__} has an unknown part {_short(min(unknown))}")
    if wrong := [name for name, value in content.items() if not fits[name](value)]:
        raise ValueError(f"{kind.__name__}'s {wrong[0]} is {_short(content[wrong[0]])}")
    try:
        return kind(**content)
    except TypeError as error:  # which names the fields that are missing
        raise ValueError(str(error)) from None


_Check = Callable[[Any], bool]


def _checks(kind: type) -> dict[str, _Check]:
    """By the field's name, for a dataclass."""
    if kind not in _known_checks:
        _known_checks[kind] = {name: _check(hint) for name, hint in get_type_hints(kind).items()}
    return _known_checks[kind]


_known_checks: dict[type, dict[str, _Check]] = {}


def _check(hint: Any) -> _Check:
    """Whether a JSON value is of that type: a whole number is also a float, True is no number. What is behind `Any` is
    not looked at: curves have hundreds of thousands of figures.
    """
    if hint is Any:
        return lambda value: True
    if (types := _types(hint)) is not None:
        return lambda value: type(value) in types
    parts, origin = get_args(hint), get_origin(hint)
    if origin is Literal:
        return lambda value: value in parts
    if origin is UnionType:
        either = [_check(part) for part in parts]
        return lambda value: any(check(value) for check in either)
    content = dict.values if origin is dict else iter
    if (inner := _types(parts[-1])) is not None:  # found out without a call for each
        return lambda value: type(value) is origin and inner.issuperset(map(type, content(value)))
    check = _check(parts[-1])
    return lambda value: type(value) is origin and all(map(check, content(value)))


def _types(hint: Any) -> frozenset[type] | None:
    """The types that JSON values of a hint have; None where there is more to it."""
    parts, origin = get_args(hint), get_origin(hint)
    if origin is UnionType:
        alternatives = [_types(part) for part in parts]
        return None if None in alternatives else frozenset[type]().union(*filter(None, alternatives))
    if origin in (dict, list):
        return frozenset({origin}) if parts[-1] is Any else None
    if hint is float:
        return frozenset(_NUMBERS)
    return frozenset({hint}) if isinstance(hint, type) else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def digest(content: dict[str, Any]) -> str:
    """64 hexadecimal digits of SHA-256 over JSON-able values; equal for equal ones, however a number was written."""
    return hashlib.sha256(json.dumps(_canonical(content), sort_keys=True).encode()).hexdigest()


def _canonical(value: Any) -> Any:
    """4.0 as 4: recipes that are equal must not differ by how a number was written."""
    if isinstance(value, dict):
        return {name: _canonical(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
