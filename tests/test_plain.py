"""Values that can be written down. What recipes make of them is tested with the recipes."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from kdsearch.mistakes import Mistake
from kdsearch.plain import LATER, as_json, digest, from_json, is_frozen


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()


def test_a_value_is_its_class_and_its_fields():
    assert as_json(Point(1.5, ("a", "b"))) == {"kind": "Point", "x": 1.5, "names": ["a", "b"]}


def test_a_field_that_came_later_is_written_where_it_is_not_its_default():
    @dataclass(frozen=True, kw_only=True)
    class Grown:
        x: float
        y: float = field(default=2.0, metadata=LATER)

    assert as_json(Grown(x=1.0, y=2.0)) == {"kind": "Grown", "x": 1.0}
    assert as_json(Grown(x=1.0, y=3.0)) == {"kind": "Grown", "x": 1.0, "y": 3.0}


def test_a_digest_is_of_the_values_and_not_of_how_they_were_written():
    assert digest({"x": 4, "y": [1]}) == digest({"y": [1.0], "x": 4.0})
    assert digest({"x": 4}) != digest({"x": 4.5})
    assert len(digest({})) == 64


def test_only_instances_of_frozen_dataclasses_are_frozen():
    assert is_frozen(Point(1))
    assert not any(is_frozen(other) for other in (Point, 3, "text", object()))


def test_a_class_is_not_a_value():
    with pytest.raises(Mistake, match="type must be a frozen dataclass"):
        as_json(Point)


@dataclass(frozen=True, kw_only=True)
class Written:
    name: str
    count: int
    figures: dict[str, float]
    lines: list[dict[str, Any]] = field(default_factory=list)
    kind: Literal["a", "b"] = "a"
    reason: str | None = None


WHOLE = {"name": "x", "count": 3, "figures": {"accuracy": 1, "loss": 0.5}, "lines": [{"any": [1]}], "reason": None}


def test_a_dataclass_comes_back_from_its_json():
    assert from_json(Written, WHOLE) == Written(**WHOLE)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"count": True}, "count is True"),
        ({"count": 2.0}, "count is 2.0"),
        ({"name": None}, "name is None"),
        ({"figures": {"accuracy": "high"}}, "figures is"),
        ({"figures": {"accuracy": False}}, "figures is"),
        ({"figures": [1]}, "figures is"),
        ({"lines": [1]}, "lines is"),
        ({"kind": "c"}, "kind is 'c'"),
        ({"reason": 1}, "reason is 1"),
        ({"more": 1}, "unknown part 'more'"),
    ],
)
def test_what_is_of_another_form_is_named(change, rule):
    with pytest.raises(ValueError, match=rule):
        from_json(Written, {**WHOLE, **change})


@pytest.mark.parametrize("content", [None, [], "x", {}, {"name": "x"}])
def test_what_is_missing_is_named(content):
    with pytest.raises(ValueError, match=r"Written is|missing"):
        from_json(Written, content)
