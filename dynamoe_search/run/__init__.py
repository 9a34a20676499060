"""Carrying out training runs: workers, engines, progress."""
