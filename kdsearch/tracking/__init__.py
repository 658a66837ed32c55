"""MLflow as a mirror of the database. The only home of MLflow."""

from kdsearch.tracking.connection import check_store
from kdsearch.tracking.held import Discrepancy, discrepancies, forget, holds, remove
from kdsearch.tracking.links import run_links, study_pages
from kdsearch.tracking.mirror import Mirror
from kdsearch.tracking.registry import Registered, register

__all__ = [
    "Discrepancy",
    "Mirror",
    "Registered",
    "check_store",
    "discrepancies",
    "forget",
    "holds",
    "register",
    "remove",
    "run_links",
    "study_pages",
]
