"""Answers that are objects sent to an answer AE title."""
