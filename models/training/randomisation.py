"""Does a map explain this network, or only the picture? The map must change when what was learned is drawn anew.

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, cascading randomisation, the two steps from the top: the last
linear layer, then the last block as well. Rank correlation (Spearman) with the map before; a map that stays as it was shows edges
of the picture and nothing of the network. Each step is drawn several times, and the mean over images and draws must lie below 0.5.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipelines.blocks.smooth_saliency import rank_agreement

LIMIT = 0.5
DRAWS = 5
Maps = NDArray[np.float32]
#: Images (n, 1, h, w) to the maps of one finding, by method: each (n, h', w').
MapsOf = Callable[[nn.Module, Tensor], Mapping[str, Maps]]


def last_block(net: nn.Module) -> list[nn.Module]:
    """Return the modules of the last block before ``net.head``: the last layer of a stack, or from its last convolution on.

    Raises
    ------
    ValueError
        There is no ``head``, or nothing with weights before it.
    """
    children = dict(net.named_children())
    if "head" not in children:
        raise ValueError(f"{type(net).__name__} has no last layer named head")
    before = [m for name, m in children.items() if name != "head" and any(True for _ in m.parameters())]
    if not before:
        raise ValueError(f"{type(net).__name__} has no block with weights before its head")
    block = before[-1]
    if isinstance(block, nn.ModuleList):
        return [block[-1]]
    if isinstance(block, nn.Sequential):
        layers = list(block)
        starts = [n for n, layer in enumerate(layers) if any(p.ndim > 1 for p in layer.parameters())]
        return layers[starts[-1] :] if starts else [block]
    return [block]


def draw_anew(modules: Sequence[nn.Module], seed: int) -> None:
    """Give every layer of the modules fresh weights, as PyTorch draws them, in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in (layer for module in modules for layer in module.modules() if hasattr(layer, "reset_parameters")):
            layer.reset_parameters()


def randomisation(net: nn.Module, images: Tensor, maps_of: MapsOf, draws: int = DRAWS, seed: int = 90) -> dict[str, dict[str, Any]]:
    """Return the test's result for each method.

    Parameters
    ----------
    net
        The trained network; it is not changed.
    images
        (n, 1, h, w), normalised. Images whose map shows no evidence take no part.

    Returns
    -------
    dict
        By method: ``images`` that took part, ``draws``, ``steps`` (``layers``, ``spearman``, ``untouched``: the map does not pass
        through what was drawn anew) and ``passes``: each step that touches the map lies below 0.5, and one does.
    """
    with torch.no_grad():
        before = maps_of(net, images)
        steps: dict[str, list[dict[str, Any]]] = {method: [] for method in before}
        for layers in ("head", "head and last block"):
            agreed: dict[str, list[NDArray[np.float64]]] = {method: [] for method in before}
            same = dict.fromkeys(before, True)
            for draw in range(draws):
                other = copy.deepcopy(net).eval()
                draw_anew([other.head] if layers == "head" else [other.head, *last_block(other)], seed + draw)
                for method, after in maps_of(other, images).items():
                    same[method] = same[method] and bool(np.array_equal(after, before[method]))
                    pairs = zip(after, before[method], strict=True)
                    agreed[method].append(np.array([rank_agreement(new[None], old)[0] for new, old in pairs]))
            for method, values in agreed.items():
                mean = float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
                steps[method].append({"layers": layers, "spearman": mean, "untouched": same[method]})
    return {method: {"images": _with_evidence(before[method]), "draws": draws, "steps": told, "passes": passes(told)}
            for method, told in steps.items()}  # fmt: skip


def passes(steps: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether every step that touches the map made it another map, and whether there was such a step."""
    touched = [step["spearman"] for step in steps if not step["untouched"]]
    return bool(touched) and all(value < LIMIT for value in touched)


def _with_evidence(maps: Maps) -> int:
    return int(sum(float(one.max()) > float(one.min()) for one in maps))
