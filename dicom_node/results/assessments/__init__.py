"""Telling those who have a result what a person said of it."""
