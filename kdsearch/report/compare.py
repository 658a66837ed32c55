"""Two or more studies side by side, on one page."""

import math
from collections.abc import Sequence
from pathlib import Path

from kdsearch.choice import pick
from kdsearch.frame import front
from kdsearch.mistakes import Mistake
from kdsearch.report.charts.comparison import comparison_charts, comparison_numbers
from kdsearch.report.columns import below, percent
from kdsearch.report.material import Material
from kdsearch.report.page import write_page
from kdsearch.report.render import render
from kdsearch.report.tables import Column, counts


def write_comparison(materials: Sequence[Material], folder: Path) -> Path:
    """Write the page as `folder/index.html` and give its path. Raises `Mistake` as `write_report` does, and unless
    there are two or more studies of different names.
    """
    return write_page(comparison_page(materials), folder)


def comparison_page(materials: Sequence[Material]) -> str:
    """The studies' fronts and growth in the same charts, and their figures in one table."""
    names = [material.facts.name for material in materials]
    if len(set(names)) != len(names) or len(names) < 2:
        raise Mistake(f"a comparison needs two or more different studies, got {', '.join(names)}")
    numbers = comparison_numbers(materials)
    volumes = [numbers.volumes[name] for name in names]
    reference = (
        f"accuracy above {numbers.reference_accuracy:.4g} times log10 of parameters below "
        f"{numbers.reference_parameters:,.0f}"
    )
    return render(
        "compare.html.j2",
        comparison_charts(materials),
        {},
        title=" vs ".join(names),
        names=names,
        columns=study_columns(materials, volumes),
        sentence=sentence(names, volumes),
        reference=reference,
        cautions=cautions(materials),
    )


def study_columns(materials: Sequence[Material], volumes: Sequence[float]) -> list[Column]:
    """One row per study; `volumes` are measured from one reference."""
    knees = [_knee(material) for material in materials]
    facts = [material.facts for material in materials]

    def knee(name: str) -> list[str]:
        return [knee[name] if knee else "" for knee in knees]

    return [
        Column(title="study", cells=[one.name for one in facts], number=False),
        Column(title="data", cells=[str(one.data["name"]) for one in facts], number=False),
        Column(title="teacher's parameters", cells=[f"{one.teacher['parameters']:,}" for one in facts]),
        Column(title="teacher's accuracy, %", cells=[_accuracy(one.teacher["accuracy"]) for one in facts]),
        Column(title="complete trials", cells=[f"{counts(one.table)['complete']:,}" for one in materials]),
        Column(title="hypervolume", cells=[f"{volume:.4f}" for volume in volumes]),
        Column(title="on the front", cells=[f"{len(front(one.table)):,}" for one in materials]),
        Column(title="knee", cells=knee("trial")),
        Column(title="its parameters", cells=knee("parameters")),
        Column(title="% of teacher's", cells=knee("share")),
        Column(title="its accuracy, %", cells=knee("accuracy")),
        Column(title="points below teacher", cells=knee("below")),
    ]


def sentence(names: Sequence[str], volumes: Sequence[float]) -> str:
    """Which study covers most from the common reference."""
    best = max(volumes)
    if best == 0:
        return "None of these studies has a student above the common reference yet."
    leading = [name for name, volume in zip(names, volumes, strict=True) if volume >= best - 5e-5]
    if len(leading) > 1:
        return f"{' and '.join(leading)} cover the same hypervolume, {best:.4f}."
    rest = [f"{name} {volume:.4f}" for name, volume in zip(names, volumes, strict=True) if name not in leading]
    return f"{leading[0]} covers the most, a hypervolume of {best:.4f}; {', '.join(rest)}."


def cautions(materials: Sequence[Material]) -> list[str]:
    """Where the studies differ in what makes their accuracies comparable."""
    facts = [material.facts for material in materials]
    said = []
    if len({one.data["fingerprint"] for one in facts}) > 1:
        said.append(
            "They were not trained on the same data and splits, so their accuracies answer different questions."
        )
    if len({one.teacher["key"] for one in facts}) > 1:
        said.append("Their teachers differ.")
    said.append("Each is one search: another seed of the study may give another order.")
    epochs = [sum(record.epochs_trained for record in material.records) for material in materials]
    if len(set(epochs)) > 1:
        said.append(f"They trained {' and '.join(f'{count:,}' for count in epochs)} epochs.")
    said += [f"{one.name} is a smoke run: its figures say nothing." for one in facts if one.smoke]
    said += [f"{one.facts.name} has no complete trial yet." for one in materials if not counts(one.table)["complete"]]
    return said


def _knee(material: Material) -> dict[str, str]:
    """Empty where no trial is complete."""
    table, facts = material.table, material.facts
    if not counts(table)["complete"]:
        return {}
    trial = pick(table, facts, "knee")
    parameters, share, accuracy = (float(table[name].to_dict()[trial]) for name in ("parameters", "share", "accuracy"))
    return {
        "trial": str(trial),
        "parameters": f"{parameters:,.0f}",
        "share": percent(share),
        "accuracy": _accuracy(accuracy),
        "below": below(facts.teacher["accuracy"], accuracy),
    }


def _accuracy(accuracy: float) -> str:
    return "" if math.isnan(accuracy) else f"{100 * accuracy:.2f}"
