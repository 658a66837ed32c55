"""`README.md` of an export: a model card, made from `student.json`'s content alone.

In the form that hubs of models read: YAML first, whose licence is left for the owner to fill in. Names that come from
data are shown letter by letter and stand in no table.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kdsearch.export.folder import RECIPE, STUDY
from kdsearch.export.loading import Inputs, how_to_load
from kdsearch.export.wording import fresh_seeds_in_words, percent, recipe_in_words
from kdsearch.markup import code_span, printable
from kdsearch.saved import CARD

_NAMES = 20
"""Class names that are listed; the JSON has all."""
_TASKS = {"images": "image-classification", "tokens": "text-classification", "features": "tabular-classification"}
_TO_FILL = "**to be filled in**"
_KINDS = {
    "safetensors": "the weights, for `kdsearch.load`",
    "onnx": "for ONNX Runtime, on servers, phones and in browsers",
    "pt2": "a torch.export program; loading it can run code",
    "int8": "ONNX with 8-bit weights and activations, calibrated on training data",
    RECIPE: "what `kdsearch train` trains it again from",
    STUDY: "the study's own file: data, teacher, families",
}


def text(card: Mapping[str, Any]) -> str:
    """The whole README.md. `card` is `student.json`'s content with every file but the README itself."""
    sections = {
        f"{code_span(card['student']['kind'])} of the study {code_span(card['study'])}": _summary(card),
        "Figures": _figures(card),
        "What fresh seeds gave": fresh_seeds_in_words(card),
        "How to load it": how_to_load(card),
        "How it was trained": _training(card),
        "Limits": _listed(_limits(card)),
        "Licences": _licences(card),
        "Files": _files(card),
        "How it was made": _making(card),
    }
    parts = [_front_matter(card)]
    for number, (heading, content) in enumerate(sections.items()):
        parts.append(f"{'##' if number else '#'} {heading}\n\n{content}")
    return "\n\n".join(parts) + "\n"


def _front_matter(card: Mapping[str, Any]) -> str:
    """YAML of our own words alone."""
    formats = [file["format"] for file in card["files"].values() if "format" in file]
    tags = ["knowledge-distillation", *(name for name in ("safetensors", "onnx") if name in formats), "kdsearch"]
    lines = [
        "license:  # to be filled in",
        "library_name: kdsearch",
        f"pipeline_tag: {_TASKS[Inputs.of(card).noun]}",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "metrics:",
        "- accuracy",
    ]
    return "\n".join(["---", *lines, "---"])


def _summary(card: Mapping[str, Any]) -> str:
    figures, inputs = card["metrics"], Inputs.of(card)
    names = card["class_names"]
    shown = ", ".join(map(code_span, names[:_NAMES]))
    more = f" and {len(names) - _NAMES} more (`class_names` in {CARD})" if len(names) > _NAMES else ""
    validation = figures["validation_accuracy"]
    accuracy = (
        f"{percent(validation)} on validation and {percent(figures['test_accuracy'])} on test data"
        if validation is not None
        else f"{percent(figures['test_accuracy'])} on test data (its accuracy is from test only: it learned from the "
        "validation data too)"
    )
    return (
        f"A network of {figures['parameters']:,} parameters, {100 * figures['share_of_teacher']:.3g} % of its "
        f"teacher's, which tells {card['classes']} classes of {code_span(card['data']['name'])} apart. It was found by "
        f"kdsearch, which searches small networks together with how they are distilled. Accuracy: {accuracy}; the "
        f"teacher's: "
        f"{percent(card['teacher']['validation_accuracy'])} and {percent(card['teacher']['test_accuracy'])}.\n\n"
        f"It takes {inputs.noun} {inputs.batch_shape} and gives one number for each class: {shown}{more}."
    )


def _figures(card: Mapping[str, Any]) -> str:
    teacher, headings = card["teacher"], ["", "parameters", "kB", "macs", "ms, batch 1", "ms, batch 64"]
    members = f" ({teacher['members']} networks)" if teacher["members"] > 1 else ""
    headings += ["validation", "test", "agreement", "largest difference"]
    rows = [
        [
            f"teacher{members}",
            f"{teacher['parameters']:,}",
            f"{teacher['size_kb']:,.1f}",
            f"{teacher['macs']:,}",
            *(_latency(teacher, batch) for batch in ("1", "64")),
            percent(teacher["validation_accuracy"]),
            percent(teacher["test_accuracy"]),
            "",
            "",
        ]
    ]
    seen = card["trained_on"] != "train"
    by_format = {file["format"]: name for name, file in card["files"].items() if "format" in file}
    for known_as, proof in card["proof"].items():
        name = by_format[known_as]
        rows.append(
            [
                f"`{name}`",
                f"{proof['parameters']:,}",
                f"{card['files'][name]['bytes'] / 1000:,.1f}",
                f"{card['metrics']['macs']:,}",
                *(_latency(proof, batch) for batch in ("1", "64")),
                "-" if seen else percent(proof["validation_accuracy"]),
                percent(proof["test_accuracy"]),
                percent(proof["agreement"]),
                f"{proof['largest_difference']:.2g}",
            ]
        )
    machine = ", ".join(code_span(str(part)) for part in card["machine"].values())
    note = (
        "Each file was loaded in a fresh process by its own runtime. kB of files on disk, of the teacher's weights in "
        f"memory; macs of one example; milliseconds a batch, the median (quartiles), with one thread on {machine}; "
        "agreement: the share of validation and test examples on which the file says what the trained student says; "
        "largest difference: of its outputs from the student's."
    )
    return f"{_table(headings, rows)}\n\n{note}"


def _latency(measured: Mapping[str, Any], batch: str) -> str:
    found = measured["latency_ms"][batch]
    return f"{found['median']:.3g} ({found['low']:.3g} to {found['high']:.3g})"


def _training(card: Mapping[str, Any]) -> str:
    data, teacher = card["data"], card["teacher"]
    members = f"an ensemble of {teacher['members']} networks" if teacher["members"] > 1 else "one network"
    lines = [
        f"data: {code_span(data['name'])}, {data['train']:,} training, {data['validation']:,} validation and "
        f"{data['test']:,} test examples; fingerprint `{data['fingerprint']}`",
        f"learned from: {'training and validation data' if card['trained_on'] != 'train' else 'the training data'}",
        f"teacher: {members}, {teacher['parameters']:,} parameters, frozen",
        *recipe_in_words(card),
        f"seeds: {card['seeds']['start']} for the start, {card['seeds']['distil']} for the distillation",
    ]
    again = ""
    if RECIPE in card["files"] and STUDY in card["files"]:
        again = (
            f"\n\n```sh\nkdsearch train {RECIPE}\n```\n\ntrains it again from nothing, to the same weights on the same "
            "machine."
        )
    return _listed(lines) + again


def _limits(card: Mapping[str, Any]) -> list[str]:
    """What a user of the student could run into."""
    limits = [
        "Whatever it is given, it answers with one of its classes; it does not say that an input is none of them.",
        "Its figures are of data drawn like the data named above; on others they may be far lower.",
        "Its probabilities were not calibrated.",
    ]
    if "omit" in card["described"]:
        limits.append("It was shown no example of some of its classes: see below.")
    if "int8" in card["proof"] and card["proof"]["int8"]["agreement"] < 1:
        limits.append("The 8-bit file decides differently on some examples; its own accuracy is in the table.")
    return limits


def _licences(card: Mapping[str, Any]) -> str:
    rows = [["this student", _TO_FILL], ["the data", _TO_FILL], ["the teacher", _TO_FILL]]
    return (
        f"{_table(['of', 'licence'], rows)}\n\nkdsearch does not know them. What those of data and teacher allow "
        "decides on what may be done with the student. The line `license:` at the top is read by hubs of models."
    )


def _files(card: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}`", f"{file['bytes']:,}", f"`{file['sha256']}`", _KINDS.get(file.get("format", name), "")]
        for name, file in card["files"].items()
    ]
    note = f"`{CARD}` has all of this for programs, the checksum of this page too."
    return f"{_table(['file', 'bytes', 'SHA-256', ''], rows)}\n\n{note}"


def _making(card: Mapping[str, Any]) -> str:
    versions = [f"{name} {code_span(str(version))}" for name, version in card["versions"].items()]
    made = f"with {', '.join(versions)}. It is trial {card['trial']} of the study."
    return f"```sh\n{printable(card['command'])}\n```\n\n{made}"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; no cell may hold a bar or a line break."""
    ruler = ["---", *["---:" if heading not in ("licence", "SHA-256", "") else "---" for heading in headings[1:]]]
    return "\n".join(f"| {' | '.join(row)} |" for row in [headings, ruler, *rows])
