"""What a page's scripts know of the trials: one table for tips, the picked trial's panel, all trials and the CSV."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from kdsearch.choice import RULES, pick
from kdsearch.frame import front
from kdsearch.records import TrialRecord
from kdsearch.report.columns import recipe_columns
from kdsearch.report.material import Material


def trials_data(material: Material) -> dict[str, Any]:
    """`csv` is the whole frame's, word for word: the page reads its table from it, so that what is downloaded and what
    is shown cannot differ. `front` are the front's trials by rising parameters, `recipe` the frame's columns that came
    from the recipe, `picks` the trials that `--pick` takes, by rule; `stages`, `seeds` and `links` are by trial.
    """
    table, facts = material.table, material.facts
    complete = bool((table["state"] == "complete").any())
    accuracy = float(facts.teacher["accuracy"])
    return {
        "csv": table.to_csv(),
        "front": [int(trial) for trial in front(table).index],
        "recipe": recipe_columns(table),
        "picks": {rule: pick(table, facts, rule) for rule in RULES} if complete else {},
        "teacher": {
            "parameters": facts.teacher["parameters"],
            "accuracy": None if math.isnan(accuracy) else accuracy,
            "test": material.teacher_test,
        },
        "stages": {record.number: stages(record) for record in material.records if record.curve},
        # as texts: seeds have up to 19 digits, and JavaScript's numbers 15
        "seeds": {
            record.number: {name: str(seed) for name, seed in record.seeds.items()} for record in material.records
        },
        "links": web_links(material.links),
    }


def stages(record: TrialRecord) -> list[list[Any]]:
    """Of each stage of the curve, in order: name, epochs, last loss, last validation accuracy, seconds; None where a
    stage measured none.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    for line in record.curve:
        found.setdefault(str(line["stage"]), []).append(line)
    return [
        [
            stage,
            len(lines),
            _last(lines, "loss"),
            _last(lines, "validation_accuracy"),
            round(sum(line["seconds"] for line in lines), 2),
        ]
        for stage, lines in found.items()
    ]


def web_links(links: Mapping[int, str]) -> dict[int, str]:
    """Those that lead to a web page: an address of another scheme, such as javascript:, would run in this one."""
    return {trial: address for trial, address in links.items() if urlsplit(address).scheme in ("http", "https")}


def _last(lines: Sequence[Mapping[str, Any]], name: str) -> float | None:
    values = [float(line[name]) for line in lines if line.get(name) is not None]
    return float(f"{values[-1]:.5g}") if values and math.isfinite(values[-1]) else None
