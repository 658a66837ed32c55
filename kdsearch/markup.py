"""Text from anywhere made harmless: in HTML, in Markdown and on a terminal it is shown rather than obeyed."""

import re
from collections.abc import Mapping, Sequence
from html import escape


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>" if text else ""


def pairs(heading: str, rows: Mapping[str, str]) -> str:
    """A heading with what there is to say, a line each."""
    lines = "".join(
        f'<tr><th style="text-align: left">{escape(name)}</th><td style="text-align: left">{escape(said)}</td></tr>'
        for name, said in rows.items()
    )
    return f"<div><strong>{escape(heading)}</strong><table><tbody>{lines}</tbody></table></div>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Every row has as many cells as there are headings."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def printable(text: str) -> str:
    """`text` with all that a terminal would obey rather than show (control and formatting characters, line breaks) as
    Python would write it: names and messages come from files, databases and other people's code.
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text)


def code_span(text: str) -> str:
    """`text` as Markdown that shows it letter by letter: no HTML, link, emphasis or line break in it means anything.

    Not for a table's cells, in which a bar ends even this.
    """
    shown = printable(text)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {shown} {fence}" if not shown.strip() or "`" in shown else f"{fence}{shown}{fence}"
