"""Where segments are run: one small protocol, one implementation per file."""

from kdsearch.executors.base import Executor, Job, LostError, NotBegunError
from kdsearch.executors.inline import Inline
from kdsearch.executors.local import Local

__all__ = ["Executor", "Inline", "Job", "Local", "LostError", "NotBegunError"]
