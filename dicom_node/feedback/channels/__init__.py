"""Channels: one file each. Each turns what came into a ``core.feedback.Claim``, and nothing else."""
