"""The network of a bundle, from its ``weights.safetensors`` and the name of its architecture: for checks that need torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from safetensors.torch import load_file
from torch import Tensor, nn

from models.bundle import Bundle
from models.zoo.hegl_vit import FULL, STRIDE, TWIN, HeglVit
from models.zoo.lite_cxr import LiteCxr
from models.zoo.lung_unet import LungUNet
from models.zoo.policy_cxr import Cnn3

Weights = Mapping[str, Tensor]


def _lite(weights: Weights) -> nn.Module:
    classes, width = weights["head.weight"].shape
    return LiteCxr(width, classes, depth=1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks.")))


def _cnn3(weights: Weights) -> nn.Module:
    channels = [len(value) for name, value in weights.items() if name.startswith("body.") and value.ndim == 4]
    return Cnn3(tuple(sorted(channels)), len(weights["head.weight"]))


def _hegl(weights: Weights) -> nn.Module:
    classes, width = weights["queries"].shape
    size = STRIDE * round(weights["positions"].shape[1] ** 0.5)
    return HeglVit(classes, size, **(FULL if width == FULL["width"] else TWIN))


BUILD: dict[str, Callable[[Weights], nn.Module]] = {
    "cnn3": _cnn3,
    "hegl_vit": _hegl,
    "lite_cxr": _lite,
    "lung_unet": lambda _: LungUNet(),
}


def network_of(bundle: Bundle) -> nn.Module:
    """Return the network with its weights, in evaluation mode.

    Raises
    ------
    ValueError
        The architecture is not one of those that can be built here.
    RuntimeError
        The weights do not fit the network.
    """
    name = str((bundle.config.get("architecture") or {}).get("name"))
    if name not in BUILD:
        raise ValueError(f"{bundle.label}: the network {name} cannot be built here. Known: {', '.join(sorted(BUILD))}")
    weights = load_file(bundle.folder / "weights.safetensors")
    net = BUILD[name](weights)
    net.load_state_dict(weights)
    return net.eval()
