"""Measurements: each module returns rows for a table and for JSON, and runs alone with `python -m`."""
