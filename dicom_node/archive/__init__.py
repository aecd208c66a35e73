"""Asking an archive: what it holds of a study, whose it is, and fetching what did not come."""
