"""MLflow as a mirror of the database. The only home of MLflow."""

from kdsearch.tracking.connection import check_store
from kdsearch.tracking.links import run_links, study_pages
from kdsearch.tracking.mirror import Mirror

__all__ = ["Mirror", "check_store", "run_links", "study_pages"]
