"""learning: from answers to labels, worklists and de-identified training sets."""
