"""Where segments are run: one small protocol, one implementation per file."""

from kdsearch.executors.base import BlamelessError, Executor, Job, LostError
from kdsearch.executors.inline import Inline
from kdsearch.executors.local import Local

__all__ = ["BlamelessError", "Executor", "Inline", "Job", "Local", "LostError"]
