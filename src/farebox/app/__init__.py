"""From configuration to running processes: the only place that names concrete classes."""

from typing import Final

JOURNAL_FOLDER: Final = "journal"
QUOTA_FILE: Final = "quota.db"
USAGE_FILE: Final = "usage.duckdb"
LOGINS_FILE: Final = "console.db"

STOP_SECONDS_BEYOND_GRACE: Final = 10
"""A worker has so long, once its calls have ended or were cut, to commit what they cost and to return its leases."""
