"""Which of a study's registered students is its best: decided on the validation split alone, pure."""

from collections.abc import Mapping
from dataclasses import dataclass

BEST = "best"
"""The alias."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of a version: its `accuracy` on the validation split `data` (a fingerprint), None where it has none
    (a student that learned from that split too, or a version that kdsearch did not write).
    """

    version: str
    accuracy: float | None
    parameters: int
    data: str

    @classmethod
    def of(cls, version: str, tags: Mapping[str, str]) -> "Standing":
        accuracy = tags.get("kdsearch.validation_accuracy")
        return cls(
            version=version,
            accuracy=float(accuracy) if accuracy is not None else None,
            parameters=int(tags.get("kdsearch.parameters", 0)),
            data=tags.get("kdsearch.data_fingerprint", ""),
        )


def judged(new: Standing, best: Standing | None, force: bool) -> tuple[bool, str]:
    """Whether the alias moves to `new`, and why, in words. `best` has it now; None where none has.

    It moves to a more accurate student, and to an equally accurate one with fewer parameters.
    """
    if best is not None and best.version == new.version:
        return False, f"{BEST} already"
    if force:
        return True, f"{BEST} by force" + (f", in place of version {best.version}" if best is not None else "")
    stays = f"{BEST} stays version {best.version}" if best is not None else f"no version is {BEST} yet"
    if new.accuracy is None:
        return False, f"{stays}: this one has no validation accuracy; --force-best moves it"
    if best is None:
        return True, "the first"
    if best.accuracy is None:
        return False, f"{stays}, which has no validation accuracy to compare with; --force-best moves it"
    if best.data != new.data:
        return False, f"{stays}, which was measured on other data; --force-best moves it"
    figures = f"{new.accuracy:.2%} against {best.accuracy:.2%}"
    sizes = f"{new.parameters:,} parameters against {best.parameters:,}"
    if new.accuracy > best.accuracy:
        return True, f"more accurate than version {best.version}: {figures}"
    if new.accuracy < best.accuracy:
        return False, f"{stays}, which is more accurate: this one has {figures}"
    if new.parameters < best.parameters:
        return True, f"as accurate as version {best.version} and smaller: {sizes}"
    return False, f"{stays}, which is as accurate and no larger: this one has {sizes}"
