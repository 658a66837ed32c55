"""What the commands for looking after a workspace do: arguments to calls, results to the terminal; the exit status."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdsearch.upkeep.flaw import Flaw

DONE, FOUND, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def doctor(arguments: argparse.Namespace) -> int:
    from kdsearch.upkeep.doctor import diagnose

    found = diagnose(arguments.name, repair=arguments.repair, say=_complain, **_where(arguments))
    if arguments.json:
        print(json.dumps(found.as_json(), indent=2))
        return DONE if found.clean else FOUND
    for said in found.repaired:
        _say(said)
    for flaw in found.left:
        _say(*_lines(flaw))
    for name in found.looked_at_only:
        _say(f"a driver is at work on {name}: it was only looked at")
    wrong = sum(flaw.level != "note" for flaw in found.left)
    studies = f"{len(found.studies)} {'study' if len(found.studies) == 1 else 'studies'}"
    _say(f"checked {studies}: {wrong or 'nothing'} {'is' if wrong < 2 else 'are'} wrong")
    return DONE if found.clean else FOUND


def gc(arguments: argparse.Namespace) -> int:
    from kdsearch.upkeep.garbage import collect_garbage

    freed = collect_garbage(
        arguments.name,
        dry_run=arguments.dry_run,
        pruned=arguments.pruned,
        signals=arguments.signals,
        students=arguments.students,
        keep=arguments.keep or (),
        say=_complain,
        **_where(arguments),
    )
    if arguments.json:
        print(json.dumps(freed.as_json(), indent=2))
        return DONE
    for kind in freed.files:
        _say(f"{freed.bytes[kind] / 1e6:10,.2f} MB  {kind} ({freed.files[kind]})")
    _say(f"{freed.mb:10,.2f} MB  {'would be freed' if freed.dry_run else 'freed'}")
    return DONE


def delete(arguments: argparse.Namespace) -> int:
    from kdsearch.mistakes import Mistake
    from kdsearch.upkeep.deleting import delete_study

    if not arguments.yes:
        if sys.stdin is None or sys.stdin.closed or not sys.stdin.isatty():
            raise Mistake(f"kdsearch delete {arguments.name} asks at a terminal; elsewhere it needs --yes")
        asked = f"delete {arguments.name} with all its trials, students and MLflow runs? Type its name: "
        if input(asked).strip() != arguments.name:
            _say("nothing was deleted")
            return FOUND
    _say(*delete_study(arguments.name, say=_complain, **_where(arguments)))
    return DONE


def archive(arguments: argparse.Namespace) -> int:
    from kdsearch.upkeep.packing import archive_study

    made = archive_study(
        arguments.name, arguments.to, signals=arguments.with_signals, say=_complain, **_where(arguments)
    )
    _say(f"wrote {made} ({made.stat().st_size / 1e6:,.1f} MB)")
    return DONE


def restore(arguments: argparse.Namespace) -> int:
    from kdsearch.upkeep.restoring import restore_study

    restored = restore_study(arguments.file, most_gb=arguments.max_gb, say=_say, **_where(arguments))
    _say(f"restored {restored.facts.name}: {len(restored.records)} trials, {len(restored.front)} on the front")
    return DONE


def _where(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"workspace": arguments.workspace, "storage": arguments.storage}


def _lines(flaw: "Flaw") -> list[str]:
    return [
        f"{flaw.level}: {flaw.what}",
        f"    where:  {flaw.where}",
        f"    costs:  {flaw.costs}",
        f"    remedy: {flaw.remedy}",
    ]


def _say(*lines: str) -> None:
    from kdsearch.markup import printable

    for line in lines:
        print(printable(line))


def _complain(line: str) -> None:
    """What is no result, and must not stand in one."""
    from kdsearch.markup import printable

    print(printable(line), file=sys.stderr)


def add(command: Any, whole: Any, above_zero: Any) -> None:
    """Add the commands to the command line: `command` makes one, the others parse a trial's number and a size."""
    checked = command("doctor", doctor, "check a workspace or a study, and repair it")
    checked.add_argument("name", metavar="NAME", nargs="?", help="default: the whole workspace")
    checked.add_argument("--repair", action="store_true", help="do what is safe; what is not is left to you")
    checked.add_argument("--json", action="store_true", help="print one JSON object")
    freed = command("gc", gc, "free space, also while a search runs")
    freed.add_argument("name", metavar="NAME", nargs="?", help="default: the whole workspace")
    freed.add_argument("--dry-run", action="store_true", help="say what would be freed, and free nothing")
    freed.add_argument("--pruned", action="store_true", help="also what pruned trials could be taken up again from")
    freed.add_argument("--signals", action="store_true", help="also the teacher's signals where no driver is at work")
    freed.add_argument(
        "--students", choices=("all", "front"), default="all", help="front: also weights of dominated students"
    )
    freed.add_argument("--keep", type=whole, action="append", metavar="N", help="but not this trial's; may be repeated")
    freed.add_argument("--json", action="store_true", help="print one JSON object")
    deleted = command("delete", delete, "delete everything of a study, MLflow's copy of it too")
    deleted.add_argument("name", metavar="NAME")
    deleted.add_argument("--yes", action="store_true", help="do not ask")
    archived = command("archive", archive, "write a whole study to one file, to be restored elsewhere")
    archived.add_argument("name", metavar="NAME")
    archived.add_argument("--to", metavar="FILE", required=True, help="FILE.tar.gz or FILE.zip")
    archived.add_argument(
        "--with-signals", action="store_true", help="also the teacher's signals, which can be had again"
    )
    restored = command("restore", restore, "bring an archived study into this workspace and database")
    restored.add_argument("file", metavar="FILE")
    restored.add_argument(
        "--max-gb", type=above_zero, default=20.0, metavar="GB", help="refuse an archive that unpacks to more (20)"
    )
