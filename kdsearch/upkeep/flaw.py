"""What a check finds: values that say what is wrong, where, what it costs, and what puts it right."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
"""error: something is lost until the user decides; warning: it costs time or space alone; note: nothing is wrong."""


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """One thing that a check found. `kind` is a short name that stays; `remedy` says what puts it right; `mend` does
    it, where that is safe, and gives in words what it did.
    """

    kind: str
    level: Level
    what: str
    where: str
    costs: str
    remedy: str
    mend: Callable[[], str] | None = field(default=None, repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in ("kind", "level", "what", "where", "costs", "remedy")}
        return {**shown, "repairable": self.mend is not None}


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was found in the `studies`, in words what was `repaired` of it, and what is `left`: that which only the user
    can decide, or all of it where nothing was to be repaired. `looked_at_only` are studies whose driver is alive.
    """

    studies: tuple[str, ...]
    flaws: tuple[Flaw, ...]
    repaired: tuple[str, ...]
    left: tuple[Flaw, ...]
    looked_at_only: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether there is nothing left that is wrong; notes are not."""
        return all(flaw.level == "note" for flaw in self.left)

    def as_json(self) -> dict[str, Any]:
        return {
            "studies": list(self.studies),
            "clean": self.clean,
            "findings": [flaw.as_json() for flaw in self.flaws],
            "repaired": list(self.repaired),
            "left": [flaw.as_json() for flaw in self.left],
            "looked_at_only": list(self.looked_at_only),
        }


def removing(*paths: Path) -> Callable[[], str]:
    """What removes the files, or folders with all that is in them, and says so. Those that are gone are no matter."""

    def remove() -> str:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        return f"removed {paths[0]}"

    return remove
