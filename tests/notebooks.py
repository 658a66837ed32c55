"""Notebooks run by a real kernel, in a folder of their own."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]


def executed(notebook: nbformat.NotebookNode, folder: Path, seconds: int = 540) -> nbformat.NotebookNode:
    """The notebook with its outputs; raises what a cell raises."""
    os.environ["PYTHONPATH"] = str(ROOT)  # the kernel's, and its workers'
    resources = {"metadata": {"path": str(folder)}}
    return NotebookClient(notebook, timeout=seconds, kernel_name="python3", resources=resources).execute()


def shown(cell: nbformat.NotebookNode, mime: str) -> list:
    """What the cell's outputs show as that type."""
    return [output["data"][mime] for output in cell.get("outputs", []) if mime in output.get("data", {})]
