"""Front door of the results room: findings in, artifacts out."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import TopologicalSorter
from types import ModuleType

from dicom_node.core.artifact import Artifact
from dicom_node.plugins import load_kind
from dicom_node.results.context import ResultContext


def build_results(context: ResultContext, roles: Sequence[str]) -> tuple[Artifact, ...]:
    """Build the wanted roles, those that others refer to first; a kind that these findings do not give is left out.

    Parameters
    ----------
    context
        The run and its findings.
    roles
        Kinds, with ``:variant`` for a flavour; repetitions are built once.

    Raises
    ------
    LookupError
        A kind that does not exist, or a variant that it does not have.
    """
    artifacts: list[Artifact] = []
    for role in _in_order(roles):
        kind, _, variant = role.partition(":")
        module = _output(role)
        if not module.wanted(context.findings):
            continue
        made: Artifact | tuple[Artifact, ...] = module.build(context, variant)
        of_role = made if isinstance(made, tuple) else (made,)
        context.built.setdefault(role, of_role[0])
        context.built.setdefault(kind, context.built[role])
        artifacts.extend(of_role)
    return tuple(artifacts)


def load_tables() -> None:
    """Have highdicom read its tables of the standard: it does so with the first object, which would wait 0.4 s for them."""
    import highdicom  # here: commands that build nothing do not load it
    from pydicom import Dataset
    from pydicom.uid import CTImageStorage

    image = Dataset()
    image.SOPClassUID, image.Manufacturer = CTImageStorage, "nobody"
    highdicom.ContributingEquipment.for_image_acquisition(image)


def _output(role: str) -> ModuleType:
    kind, _, variant = role.partition(":")
    module = load_kind("output", kind)
    if variant and variant not in module.VARIANTS:
        raise LookupError(f'output "{kind}" has no variant "{variant}". Known: {", ".join(module.VARIANTS) or "none"}.')
    return module


def _in_order(roles: Sequence[str]) -> list[str]:
    """Sort so that AFTER holds; otherwise plain flavours first, then by name: the same roles always give the same order."""
    wanted = sorted(set(roles), key=lambda role: (role.partition(":")[0], role))
    kinds = {role.partition(":")[0] for role in wanted}
    graph = {kind: sorted(kinds.intersection(_output(kind).AFTER)) for kind in sorted(kinds)}
    order = {kind: place for place, kind in enumerate(TopologicalSorter(graph).static_order())}
    return sorted(wanted, key=lambda role: (order[role.partition(":")[0]], role))
