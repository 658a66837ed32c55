"""What a search of many lives logged, as figures: what was told, what was repeated, how long until it went on."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What was done to a search, and when: seconds since the epoch."""

    kind: str
    at: float


@dataclass
class Account:
    """Takes in the events of one search in their order, driver after driver.

    A segment is finished once its checkpoint is on the disk or its trial is told; one that begins below that is
    repeated. `told` has each trial's state and figures as the log said them first; `lost` how often the segment under
    way of a trial was lost in this driver's life.
    """

    told: dict[int, tuple[str, dict[str, float]]] = field(default_factory=dict)
    told_otherwise: set[int] = field(default_factory=set)
    repeated: list[str] = field(default_factory=list)
    in_flight_again: int = 0
    finished_at: list[float] = field(default_factory=list)
    lost: Counter[int] = field(default_factory=Counter)
    losses: int = 0
    began: bool = False
    faults: list[Fault] = field(default_factory=list)
    _kept: dict[int, int] = field(default_factory=dict)
    _begun: dict[int, int] = field(default_factory=dict)

    def new_life(self) -> None:
        self.began = False
        self.lost.clear()

    def spoilt(self, trial: int) -> None:
        """The trial's checkpoint was damaged: it may begin again."""
        self._kept.pop(trial, None)

    def take_in(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "search_began":
                self.began = True
            case "kept":
                self._kept[event["trial"]] = event["epoch"]
                self._finished(event["trial"], event["at"])
            case "trial_ended" if event["state"] in ("complete", "failed", "pruned"):
                self._finished(event["trial"], datetime.fromisoformat(event["time"]).timestamp())
                said = (event["state"], event["measured"])
                if self.told.setdefault(event["trial"], said) != said:
                    self.told_otherwise.add(event["trial"])
            case "segment_began":
                self._begins(event["trial"], event["epoch"])
            case "note" if "its segment will be run again" in event["text"]:
                self.lost[int(event["text"].split()[1].rstrip(":"))] += 1
                self.losses += 1

    def _finished(self, trial: int, at: float) -> None:
        self.finished_at.append(at)
        self.lost.pop(trial, None)

    def _begins(self, trial: int, epoch: int) -> None:
        if trial in self.told or epoch < self._kept.get(trial, 0):
            had = f"had {self._kept.get(trial)}, {self.told.get(trial)}"
            self.repeated.append(f"trial {trial} from epoch {epoch}, {had}")
            self._kept[trial] = epoch
        elif self._begun.get(trial) == epoch:
            self.in_flight_again += 1
        self._begun[trial] = epoch

    def recovery_seconds(self) -> list[float]:
        """For each fault, the seconds until a segment was finished; faults after the last one have none."""
        return [
            min(at for at in self.finished_at if at > fault.at) - fault.at
            for fault in self.faults
            if any(at > fault.at for at in self.finished_at)
        ]
