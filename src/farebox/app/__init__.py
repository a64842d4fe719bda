"""From configuration to running processes: the only place that names concrete classes."""

from typing import Final

JOURNAL_FOLDER: Final = "journal"
QUOTA_FILE: Final = "quota.db"
USAGE_FILE: Final = "usage.duckdb"
LOGINS_FILE: Final = "console.db"
