"""What a search looks like on so many columns and rows: the picture to what rich prints."""

from collections.abc import Callable, Iterator, Sequence

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdsearch.markup import printable
from kdsearch.progress import plot, words
from kdsearch.progress.slots import Work
from kdsearch.progress.tally import AnewTally, Picture, RepeatsTally, SearchTally
from kdsearch.records import TrialRecord
from kdsearch.thinning import evenly

_WIDE, _WIDER, _HIGH = 60, 110, 24
_PLOT = (64, 12)
_TABLE = 54
_MEMBERS = 8


def draw(picture: Picture, width: int, height: int) -> RenderableType:
    """At most `width` columns and `height` rows. From 60 columns and 24 rows on there is a frame and the front is a
    plot, beside a table from 110 columns on; below, there is a table of at most eight members of the front.
    """
    framed = width >= _WIDE and height >= _HIGH
    inner, rows = (min(width, 132) - 4, height - 3) if framed else (width, height - 1)
    parts = _parts(picture, inner, max(3, rows), framed)
    if not framed:
        return Constrain(Group(*parts), width)
    title = _cut(f" {_title(picture)}", inner - 4, "bold").append(" ")
    return Panel(Group(*parts), title=title, title_align="left", box=ROUNDED, width=inner + 4, border_style="dim")


def _title(picture: Picture) -> str:
    return printable(picture.name) or "kdsearch"


def _parts(picture: Picture, width: int, rows: int, framed: bool) -> list[RenderableType]:
    named = "" if framed else f"{_cut(_title(picture), width // 3).plain} "
    if picture.anew is not None:
        return _anew(picture.anew, width)
    if picture.repeats is not None:
        return _repeats(picture.repeats, f"{named}fresh seeds", width, rows)
    if picture.search is not None:
        return _search(picture.search, named.strip() or "trials", width, rows, framed)
    return _teacher(picture, width)


def _teacher(picture: Picture, width: int) -> list[RenderableType]:
    heard = picture.teacher
    if heard is None:
        return [_cut(f"getting ready, {words.clock(picture.elapsed)}", width)]
    done = int(heard.line["epoch"])
    left = f", about {words.clock(picture.elapsed / done * (heard.epochs - done))} left" if done < heard.epochs else ""
    which = f"teacher {heard.member}" if heard.member else "teacher"
    return [
        _bar(which, done, heard.epochs, f"epoch {done}/{heard.epochs}", width),
        _cut(words.figures(heard.line), width),
        _cut(f"{words.clock(picture.elapsed)} elapsed{left}", width, "dim"),
    ]


def _anew(tally: AnewTally, width: int) -> list[RenderableType]:
    bar = _bar(f"trial {tally.trial} again", tally.done, tally.epochs, f"epoch {tally.done}/{tally.epochs}", width)
    figures = [_cut(words.figures(tally.line), width)] if tally.line else []
    left = tally.seconds_left()
    rest = f", about {words.clock(left)} left" if left else ""
    return [bar, *figures, _cut(f"{words.clock(tally.elapsed)} elapsed{rest}", width, "dim")]


def _search(tally: SearchTally, what: str, width: int, rows: int, framed: bool) -> list[RenderableType]:
    told = f"{tally.done}/{tally.target}"
    head: list[RenderableType] = [_bar(what, tally.done, tally.target, told, width), _times(tally, width)]
    foot = _figures(tally, width)
    work = _workers(tally.slots.rows(), width, max(1, min(rows // 2, rows - len(head) - len(foot))))
    left = rows - len(head) - len(foot) - len(work)
    middle: list[RenderableType] = []
    if tally.complete and framed and left >= 8:
        middle = [Text(), *_plots(tally, width, min(_PLOT[1], left - 2)), Text()]
    elif tally.front and left >= 3:
        middle = [_members(_spread(tally.front, min(_MEMBERS, left - 1)), tally, width)]
    return [*head, *work, *middle, *foot]


def _repeats(tally: RepeatsTally, what: str, width: int, rows: int) -> list[RenderableType]:
    told = f"{tally.done}/{tally.wanted}"
    head: list[RenderableType] = [_bar(what, tally.done, tally.wanted, told, width), _times(tally, width)]
    work = _workers(tally.slots.rows(), width, max(1, rows // 2 - len(head)))
    left = rows - len(head) - len(work) - 1
    table = _table("recipe", "runs", "test")
    for label, accuracies in list(tally.test.items())[-max(0, left - 1) :]:
        mean = sum(accuracies) / len(accuracies)
        table.add_row(_name(label), str(len(accuracies)), f"{mean:.2%}")
    return [*head, *work, table] if tally.test and left >= 2 else [*head, *work]


def _times(tally: SearchTally | RepeatsTally, width: int) -> Text:
    left = tally.seconds_left()
    parts = [f"{words.clock(tally.elapsed)} elapsed"]
    if left:
        parts.append(f"about {words.clock(left)} left")
    failed = tally.counts["failed"] if isinstance(tally, SearchTally) else tally.failed
    if failed:
        parts.append(f"{failed} failed")
    if isinstance(tally, SearchTally):
        if tally.counts["screened"]:
            parts.append(f"{tally.counts['screened']} screened")
        if tally.waiting:
            parts.append(f"{len(tally.waiting)} wait at a rung")
    return _cut(", ".join(parts), width, "dim")


def _figures(tally: SearchTally, width: int) -> list[Text]:
    """Front, best, hypervolume and epochs in two lines, or three where they are short."""
    front = f"front {len(tally.front)}" + (f", {words.best(tally.best)}" if tally.best is not None else "")
    volume = Text(f"hypervolume {tally.hypervolume:.3f} ")
    volume.append(plot.sparkline(tally.growth, max(8, min(32, width - 70))), style="green")
    saved = [
        f"{epochs:,} saved by {how}"
        for how, epochs in (("early stopping", tally.epochs_stopped), ("shared starts", tally.epochs_shared))
        if epochs
    ]
    epochs = _cut(", ".join([f"{tally.epochs_trained:,} epochs trained", *saved]), width)
    if len(front) + volume.cell_len + 3 <= width:
        return [Text.assemble(front, "   ", volume), epochs]
    volume.truncate(width)
    return [_cut(front, width), volume, epochs]


def _workers(rows: Sequence[Work | None], width: int, room: int) -> list[RenderableType]:
    """A line for each worker; where there is not so much room the last line says how many more there are."""
    shown = rows if len(rows) <= room else rows[: max(0, room - 1)]
    lines: list[RenderableType] = list(_worker_lines(shown, len(rows), width))
    if len(shown) < len(rows):
        lines.append(_cut(f"and {len(rows) - len(shown)} more workers", width, "dim"))
    return lines


def _worker_lines(rows: Sequence[Work | None], workers: int, width: int) -> Iterator[Table]:
    wide = width >= _WIDE - 4
    gap, word = (2, "worker ") if wide else (1, "")
    busy = [work for work in rows if work is not None]
    widths = [
        len(word) + len(str(workers)),
        max([len(work.title) for work in busy], default=8),
        max([len(work.student) for work in busy], default=8) if wide else 0,
        8,
        max([len(_epochs(work)) for work in busy], default=5),
        4,
        7 if wide else 6,
    ]
    spare = width - sum(widths) - gap * sum(cells > 0 for cells in widths[1:])
    if spare < 0 and wide:  # rather the whole title than the student
        spare += widths[2] + gap
        widths[2] = 0
    widths[1] = max(4, widths[1] + min(0, spare))
    widths[5] += min(16, max(0, spare))
    for number, work in enumerate(rows, 1):
        line = Table.grid(padding=(0, gap, 0, 0), pad_edge=False)
        for place, cells in enumerate(widths):
            if cells:
                line.add_column(
                    width=cells, no_wrap=True, overflow="ellipsis", justify="right" if place > 3 else "left"
                )
        held = _work(work, widths[2] > 0, widths[5]) if work is not None else [Text("free", style="dim")]
        line.add_row(Text(f"{word}{number}", style="dim"), *held)
        yield line


def _work(work: Work, with_student: bool, bar: int) -> list[RenderableType]:
    accuracy = f"{work.accuracy:.2%}" if work.accuracy is not None else ""
    return [
        _name(work.title),
        *([_name(work.student, "dim")] if with_student else []),
        _name(work.stage or "begins", "cyan"),
        Text(_epochs(work)),
        _progress(work.epoch, work.epochs, bar),
        Text(accuracy),
    ]


def _epochs(work: Work) -> str:
    return f"{work.epoch}/{work.epochs}"


def _plots(tally: SearchTally, width: int, height: int) -> list[RenderableType]:
    beside = width >= _WIDER - 4
    across = min(_PLOT[0], width - _TABLE if beside else width)
    lines = plot.plot(
        [(record.known["parameters"], record.measured["accuracy"]) for record in tally.complete],
        [(record.known["parameters"], record.measured["accuracy"]) for record in tally.front],
        (tally.facts.teacher["parameters"], tally.teacher_accuracy),
        validation=tally.facts.data["validation"],
        width=across,
        height=height - 1,
    )
    legend = Text(no_wrap=True, overflow="ellipsis").append("accuracy by size  ", style="dim")
    signs = {"● front": "bold green", "  · dominated": "bright_black", "  ★ teacher": "bold yellow"}
    for sign, style in signs.items():
        legend.append(sign, style=style)
    drawn = [legend, *lines]
    if not beside:
        return list(drawn)
    side = Table.grid(padding=(0, 3, 0, 0))
    side.add_column(width=across)
    side.add_column()
    members = _spread(tally.front, min(_MEMBERS, height - 2))
    side.add_row(Group(*drawn), Group(Text(), _members(members, tally, width - across - 3)))
    return [side]


def _members(members: Sequence[TrialRecord], tally: SearchTally, width: int) -> Table:
    columns: dict[str, Callable[[TrialRecord], str]] = {
        "trial": lambda record: str(record.number),
        "parameters": lambda record: f"{record.known['parameters']:,.0f}",
        "validation": lambda record: f"{record.measured['accuracy']:.2%}",
    }
    if width >= _WIDE - 10:
        columns["of teacher"] = lambda record: f"{record.known['parameters'] / tally.facts.teacher['parameters']:.2%}"
        columns["start"] = lambda record: printable(str(record.described["start"]))
    table = _table(*columns)
    for record in members:
        table.add_row(*(Text(told(record)) for told in columns.values()))
    return table


def _spread(front: Sequence[TrialRecord], count: int) -> list[TrialRecord]:
    """At most `count` of the front, its ends among them."""
    return [front[place] for place in evenly(count, len(front))]


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        left = heading in ("recipe", "start")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True, overflow="ellipsis")
    return table


def _bar(what: str, done: int, total: int, told: str, width: int) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    room = max(4, min(48, width - len(what) - len(told) - 3))
    grid.add_row(Text(what, style="bold"), _progress(done, total, room), told)
    return grid


def _progress(done: int, total: int, width: int) -> ProgressBar:
    return ProgressBar(total=max(1, total), completed=done, width=width, complete_style="green", finished_style="green")


def _name(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style, no_wrap=True, overflow="ellipsis")


def _cut(text: str, width: int, style: str = "") -> Text:
    made = Text(text, style=style, no_wrap=True, overflow="ellipsis")
    made.truncate(width, overflow="ellipsis")
    return made
