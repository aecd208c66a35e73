"""Answers that are documents: reports, key objects, presentation states."""
