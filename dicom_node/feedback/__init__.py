"""feedback: what radiologists say about results, however they say it, becomes one append-only log."""
