"""Farebox: a credit system for HTTP APIs."""

__version__ = "0.1.0"
