"""The same figures as JSON, under /api/v1."""
