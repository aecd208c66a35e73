"""Faults injected into a running node from outside: nothing acknowledged lost, nothing twice in effect, nothing stuck."""
