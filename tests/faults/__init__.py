"""Faults injected from outside into a running node: nothing acknowledged is lost, nothing is sent twice in effect, nothing is stuck."""
