"""An archive's table of contents: which members there may be, how large, and with which checksums.

    manifest.json                 this, first
    study.jsonl                   the study's rows and its ledger's (`kdsearch.upkeep.transcript`)
    files/KIND/NAME               the study's files, KIND one of its folders

Names are matched against what kdsearch writes, so that none can lead anywhere else and none is of a file that anything
would run. Checksums find what is torn or altered, not who made the archive.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdsearch.mistakes import Mistake
from kdsearch.plain import digest
from kdsearch.study import check_name
from kdsearch.upkeep.shelf import KINDS

FORMAT = 1
MANIFEST = "manifest.json"
ROWS = "study.jsonl"
MOST_MANIFEST_BYTES = 64 * 2**20

_SUFFIXES = {"teacher": "safetensors|json", "signals": "npy|json", "students": "safetensors|json", "logs": "txt"}
_STATE = "safetensors"
_NAMES = "|".join(
    rf"{kind}/[A-Za-z0-9][A-Za-z0-9._-]{{0,200}}\.(?:{_SUFFIXES.get(kind, _STATE)})"
    for kind in KINDS
    if kind != "data"  # the data are the user's own, and may be another's
)
_FILE = re.compile(f"files/(?:{_NAMES})")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Member:
    """What an archive says of one of its files."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """`versions` are of the packages that made the archive; `made` is when, in UTC; `members` are all but itself."""

    study: str
    made: str
    versions: Mapping[str, str]
    members: Mapping[str, Member]

    @property
    def size_bytes(self) -> int:
        return sum(member.size_bytes for member in self.members.values())

    def to_bytes(self) -> bytes:
        content = {
            "format": FORMAT,
            "study": self.study,
            "made": self.made,
            "versions": dict(self.versions),
            "members": {name: [member.sha256, member.size_bytes] for name, member in self.members.items()},
        }
        return json.dumps({**content, "sha256": digest(content)}, indent=1).encode()

    @classmethod
    def of(cls, content: bytes) -> "Manifest":
        """Raises `Mistake` for anything that kdsearch has not written like this, or that was altered since."""
        try:
            held = json.loads(content)
        except (ValueError, RecursionError):
            held = None
        if not isinstance(held, dict) or not isinstance(held.get("format"), int):
            raise Mistake("its table of contents was not written by kdsearch")
        if held["format"] != FORMAT:
            raise Mistake(
                f"its format is {held['format']}, this kdsearch reads {FORMAT}; use the version that wrote it"
            )
        if held.get("sha256") != digest({name: part for name, part in held.items() if name != "sha256"}):
            raise Mistake("its table of contents was altered")
        try:
            members = {name: _member(name, *said) for name, said in held["members"].items()}
            versions = {str(name): str(version) for name, version in held["versions"].items()}
            check_name(held["study"])
            made = cls(study=held["study"], made=str(held["made"]), versions=versions, members=members)
        except (KeyError, TypeError, AttributeError):
            raise Mistake("its table of contents lacks what describes a study") from None
        if ROWS not in members:
            raise Mistake(f"it has no {ROWS}, so it holds no study")
        return made


def may_be_kept(kind: str, name: str) -> bool:
    """Whether a file of a study goes into archives: not locks, nor what says that something was said."""
    return _FILE.fullmatch(f"files/{kind}/{name}") is not None


def _member(name: Any, sha256: Any, size_bytes: Any) -> Member:
    if not isinstance(name, str) or (name != ROWS and not _FILE.fullmatch(name)):
        raise Mistake(f"it names a file that no study has: {name!r}")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise Mistake(f"the checksum of {name} is none")
    if isinstance(size_bytes, bool) or not isinstance(size_bytes, int) or size_bytes < 0:
        raise Mistake(f"the size of {name} is none")
    return Member(sha256=sha256, size_bytes=size_bytes)
