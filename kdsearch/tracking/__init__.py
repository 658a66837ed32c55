"""MLflow as a mirror of the database. The only home of MLflow."""

from kdsearch.tracking.connection import check_store
from kdsearch.tracking.links import run_links, study_pages
from kdsearch.tracking.mirror import Mirror
from kdsearch.tracking.registry import Registered, register

__all__ = ["Mirror", "Registered", "check_store", "register", "run_links", "study_pages"]
