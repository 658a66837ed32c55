"""Bits of HTML for a notebook: whatever text goes in is shown, never read as HTML."""

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
