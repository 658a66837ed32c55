"""Progress of reading data: a bar where standard error is a terminal, else one line."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(said: str, total: int, of: str) -> Iterator[Callable[[int], None]]:
    """`said` is what is done; gives a function to call with how many more `of` the `total` are done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        print(f"kdsearch: {said}: {total:,} {of}", file=sys.stderr)
        yield lambda done: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(said, total=total)
        yield lambda done: shown.advance(task, done)
