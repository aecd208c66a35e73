"""Values that identify a person and therefore print as «hidden»."""

from __future__ import annotations


class Phi(str):
    """A string that identifies a person. It behaves as text, but ``repr``, ``format`` and logs show «hidden».

    Use ``.reveal()`` where the value is really meant to leave: in a result object addressed to the same patient.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "«hidden»"

    def __str__(self) -> str:
        return "«hidden»"

    def __format__(self, spec: str) -> str:
        return "«hidden»"

    def reveal(self) -> str:
        """Return the value itself."""
        return str.__str__(self)
