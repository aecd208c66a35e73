"""Do a bundle's maps explain? ``python -m models.training.explain --bundle DIR --data DIR``.

Two checks, written into ``metrics.json`` and the card: the randomisation test on test images that are labelled abnormal, and the
pointing game on images with a radiologist's boxes, beside two guesses that need no network. Images that the network learned from
or was chosen by are counted apart: the figure of note is of the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bundle import Bundle, BundleError, load_bundle
from models.card.checks import explanations as as_text
from models.export import ATTENTION_OUTPUTS, OUTPUTS, ClassifierGraph
from models.session import Session
from models.training.amend import add_figures
from models.training.cxr.start import shipped_lungs
from models.training.data import Row, adult, index_hash, prepare_all, read_index
from models.training.hegl.training_set import boxed_images
from models.training.localisation import localisation_table
from models.training.lungs import find_lungs
from models.training.networks import network_of
from models.training.randomisation import randomisation
from models.zoo.hegl_vit import HeglGraph
from pipelines.blocks.classify import MAPS
from pipelines.blocks.prepare_cxr import to_source

SEEN = ("train", "selection")  # learned from, or the network was chosen by them
IMAGES = 40  # of the randomisation test
BATCH = 8


class NothingToExplain(Exception):
    """The bundle has no maps of radiographs, or these are not the images that it was made with; the text is for people."""


def explain(bundle: Bundle, data: Path, lungs: Path, finding: str = "abnormal") -> dict[str, Any]:
    """Return both checks by the map's name.

    Parameters
    ----------
    data
        Folder with the very ``index.csv`` that the bundle was made with.
    lungs
        Lung bundle that crops.

    Raises
    ------
    NothingToExplain
        See there.
    """
    methods = MAPS.get(str(bundle.config.get("saliency", "none")), {})
    keys = [str(o.get("key")) for o in bundle.config["outputs"]]
    if not methods or finding not in keys or len(bundle.config["inputs"]["image"]["shape"]) != 4:
        raise NothingToExplain(
            f"{bundle.label} has no maps of {finding} on radiographs; a chest CT bundle is checked by its recipe"
        )
    provenance = yaml.safe_load((bundle.folder / "provenance.yaml").read_text(encoding="utf-8"))
    if provenance.get("data_index_sha256") != index_hash(data):
        raise NothingToExplain(f"{bundle.label} was not made with this index: what it learned from cannot be told")
    rows = [row for row in read_index(data) if adult(row)]
    column = keys.index(finding)
    places = pointing(bundle, data, lungs, rows, methods, column)
    tested = randomised(bundle, data, lungs, rows, column)
    return {
        "finding": finding,
        "index_sha256": provenance["data_index_sha256"],
        "maps": {method: {"randomisation": tested[method], "pointing": places[method]} for method in methods},
    }


def pointing(
    bundle: Bundle, data: Path, lungs: Path, rows: Sequence[Row], methods: Mapping[str, str], column: int
) -> dict[str, dict[str, Any]]:
    """Return ``localisation_table`` by method for boxed images that the network learned from (``seen``) and others (``unseen``)."""
    boxed = boxed_images(data, rows, lungs, bundle.config["preprocessing"])
    session = Session(bundle.model, threads=1)
    cases: dict[str, dict[str, list[dict[str, Any]]]] = {method: {"seen": [], "unseen": []} for method in methods}
    for n, one in sorted(boxed.items()):
        got = session.run({"image": one.prepared.network_input})
        for method, output in methods.items():
            placed = to_source(np.maximum(got[output][0, column], 0), one.prepared)
            case = {"patient": rows[n].patient, "map": placed, "boxes": one.boxes, "lungs": one.lungs}
            cases[method]["seen" if rows[n].part in SEEN else "unseen"].append(case)
    return {method: {kind: localisation_table(some) for kind, some in each.items()} for method, each in cases.items()}


def randomised(bundle: Bundle, data: Path, lungs: Path, rows: Sequence[Row], column: int) -> dict[str, dict[str, Any]]:
    """Return the randomisation test by method, on one abnormal test image of each of up to 40 patients, spread over the list."""
    first = {row.patient: row for row in reversed(rows) if row.part == "test" and row.abnormal}
    listed = list(reversed(first.values()))
    chosen = [listed[n] for n in np.unique(np.linspace(0, len(listed) - 1, min(IMAGES, len(listed))).astype(int))]
    boxes, masks, _ = find_lungs(lungs, data, chosen)
    images, _ = prepare_all(data, chosen, bundle.config["preprocessing"], boxes, masks)
    attention = bundle.config["saliency"] == "attention"

    def maps_of(net: nn.Module, pictures: Tensor) -> dict[str, NDArray[np.float32]]:
        graph = (HeglGraph(net) if attention else ClassifierGraph(net)).eval()
        names = ATTENTION_OUTPUTS if attention else OUTPUTS
        parts = [dict(zip(names, graph(part), strict=True)) for part in pictures.split(BATCH)]
        wanted = MAPS[str(bundle.config["saliency"])]
        return {m: np.concatenate([part[o][:, column].numpy() for part in parts]) for m, o in wanted.items()}

    return randomisation(network_of(bundle), torch.from_numpy(images[:, None]), maps_of)


def main() -> None:
    """Check the bundle, print the table and write the figures into it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="folder of a chest radiograph bundle with maps")
    parser.add_argument("--data", type=Path, required=True, help="folder with the index.csv that the bundle was made with")
    parser.add_argument("--lungs", type=Path, help="lung bundle that crops; default: the newest shipped one")
    parser.add_argument("--show", action="store_true", help="print only, change nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        lungs = options.lungs or shipped_lungs()
        found = explain(load_bundle(options.bundle), options.data, lungs)
    except (NothingToExplain, BundleError, OSError) as error:
        raise SystemExit(str(error)) from error
    if not options.show:
        add_figures(options.bundle, {"explanations": found})
    print("\n\n".join(as_text({"explanations": found})))


if __name__ == "__main__":
    main()
