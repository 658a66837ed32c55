"""What the commands for exported students do: arguments to calls, results to the terminal. Gives the exit status."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kdsearch.console import DONE, FAILED, INTERRUPTED, open_console, where

if TYPE_CHECKING:
    from rich.console import Console

    from kdsearch.export import Exported
    from kdsearch.progress import Screen
    from kdsearch.repetition import Repetition

_Made = TypeVar("_Made")


def export(arguments: argparse.Namespace) -> int:
    from kdsearch.choice import Limits
    from kdsearch.comparing import compare_students
    from kdsearch.figures import show_comparison
    from kdsearch.progress import say
    from kdsearch.taking import export_front, export_student

    limits = ("max_parameters", "max_drop", "max_macs", "max_size_kb", "max_latency_ms")
    asked: dict[str, Any] = {
        "limits": Limits(**{name: getattr(arguments, name) for name in limits}),
        **_files(arguments),
        "register": not arguments.no_register,
        "force_best": arguments.force_best,
        "recreate": arguments.recreate,
        "retrain": arguments.retrain,
        "study": arguments.study,
        **where(arguments),
    }
    live = arguments.recreate or arguments.retrain
    console = open_console()
    if arguments.all_front:
        front = _trained(
            lambda screen: export_front(arguments.name, arguments.to, **asked, listeners=[screen], say=screen.say),
            live=live,
        )
        if front is None:
            return INTERRUPTED
        if front.exported:
            show_comparison(console, compare_students([Path(arguments.to) / one.folder.name for one in front.exported]))
        return FAILED if front.failed else DONE
    pick = {"trial": arguments.trial, "pick": arguments.pick or "knee"}
    exported = _trained(
        lambda screen: export_student(
            arguments.name, arguments.to, **pick, **asked, listeners=[screen], say=screen.say
        ),
        live=live,
    )
    if exported is None:
        return INTERRUPTED
    say(console, f"exported trial {exported.card['trial']} of {exported.card['study']} to {exported.folder}")
    _show_export(console, exported)
    return DONE


def train(arguments: argparse.Namespace) -> int:
    from kdsearch.progress import say
    from kdsearch.repetition import train_recipe
    from kdsearch.tables import show_repetition

    def work(screen: "Screen") -> "Repetition":
        return train_recipe(
            arguments.recipe,
            to=arguments.to,
            **_files(arguments),
            study=arguments.study,
            workspace=arguments.workspace,
            listeners=[screen],
        )

    found = _trained(work, live=True)
    if found is None:
        return INTERRUPTED
    console = open_console()
    show_repetition(console, found)
    if found.exported is not None:
        say(console, f"exported to {found.exported.folder}")
        _show_export(console, found.exported)
    return DONE if found.same else FAILED


def _files(arguments: argparse.Namespace) -> dict[str, Any]:
    """What an export is asked to write."""
    from kdsearch.export import FORMATS

    formats = [name for name in FORMATS if getattr(arguments, name)]
    return {"formats": formats, "softmax": arguments.softmax, "normalize": arguments.normalize}


def _trained(work: "Callable[[Screen], _Made]", *, live: bool) -> "_Made | None":
    """What `work` gives, with the training that it may need shown; None where that was interrupted."""
    from kdsearch.progress import listener
    from kdsearch.training import StopRequestedError

    with listener(open_console(), "live" if live else "plain") as screen:
        try:
            return work(screen)
        except StopRequestedError:
            screen.say("interrupted; everything is kept, and the same command goes on from there")
            return None


def _show_export(console: "Console", exported: "Exported") -> None:
    from kdsearch.figures import proof_lines, show_figures
    from kdsearch.progress import say

    show_figures(console, exported.card)
    if exported.card["trained_on"] != "train":
        say(console, "trained again on training plus validation data: its accuracy is from the test split only")
    for line in proof_lines(exported.card):
        say(console, line)
    if exported.registered is not None:
        say(console, exported.registered)
    if "safetensors" in exported.card["proof"]:
        say(console, f'load it:  kdsearch.load("{exported.folder}")')


def predict(arguments: argparse.Namespace) -> int:
    import dataclasses
    import json

    from kdsearch.markup import printable
    from kdsearch.predicting import predict

    found = predict(arguments.folder, arguments.files, top=arguments.top)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=2))
    else:
        print("\n".join(printable(str(one)) for one in found))
    return DONE


def compare(arguments: argparse.Namespace) -> int:
    import json

    from kdsearch.comparing import compare_students, differences
    from kdsearch.figures import show_comparison

    table = compare_students(arguments.folders)
    if arguments.json:
        rows = json.loads(table.to_json(orient="records"))  # pandas writes NaN as null
        print(json.dumps({"rows": rows, "notes": differences(table)}, indent=2))
    else:
        show_comparison(open_console(), table)
    return DONE
