"""Frames of the report queries as text for a terminal; no SQL and no arithmetic on results here."""
