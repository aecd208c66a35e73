"""The page about attention-aligned training: ``python -m models.training.hegl.page --bundle DIR --out FILE``.

Words that say what was done stand here; every figure comes from the bundle's ``metrics.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.bundle import load_bundle
from models.training.hegl.study import BASELINE, LOSS_ALLOWED, ORDER
from models.training.markdown import table

INTRODUCTION = """
A network may be right for a wrong reason. Hybrid explanation-guided learning (Shu et al., arXiv 2510.12704) trains the reason
along: L = L_CE + alpha L_HA + beta L_DAL. L_HA draws the attention of a finding to what people marked, L_DAL draws the attentions
of different findings apart. Pipeline `cxr_hegl` shows that attention as its saliency map. Research use only; this page is about
what it bought here.
""".strip()
AGAIN = """
`python -m models.recipes.cxr_hegl --data DIR --out DIR --grid` makes the figures anew (finished trainings are kept, so it goes on
where it was stopped), `python -m models.training.hegl.page` this page of them.
""".strip()
DATA = """
- Multi-label classes: `abnormal`, `pneumonia`, and those words of the NIH reports that at least 50 adult patients have:
  infiltration, atelectasis, edema, effusion. Only `abnormal` is assessed: in the one source with both labels every abnormal image
  is labelled pneumonia. What a source does not tell is unknown to the loss, not absent.
- Marks: radiologists' boxes; opacities that were pasted by computer, where they lie. Elsewhere the lungs, weakly: the share of
  attention outside them, at half the weight. (A Dice with the lungs asks attention to be spread over them; it was tried first.)
- Folds divide the patients of the parts train and selection (K=5); a fold's network never sees its patients. Patients of the parts
  calibration and test are judged by the mean of the five. So no boxed image is judged by a network that learned from its box.
- All variants share images, batches, steps and seed; only alpha and beta differ. Length of training and form of the weak mark were
  tried on two of the folds, so the figures out of fold flatter a little; those of the test part do not.
""".strip()
FULL_SIZE = """
`--full` trains the ViT-B/16 from the same network file (`models/zoo/hegl_vit.py`, 110.6 million parameters) on the images
themselves. A step of two images takes seconds on a CPU core: it wants a GPU, and was not done.
""".strip()


def page(metrics: Mapping[str, Any], label: str) -> str:
    """Return the page. ``metrics``: the figures of the bundle that is called ``label``."""
    study = metrics["hegl"]
    parts = [
        "# Attention that is trained on people's marks",
        INTRODUCTION,
        f"Figures of {label}.\n{AGAIN}",
        "## What was compared",
        size(metrics),
        DATA,
        "## What came of it",
        "\n".join(f"- {line}" for line in verdicts(study)),
        *(part for told in metrics["tables"] for part in _table(told)),
        "## The published size",
        FULL_SIZE,
    ]
    return "\n\n".join(parts) + "\n"


def size(metrics: Mapping[str, Any]) -> str:
    """Return what was trained, and how little."""
    return (
        "**A small twin on CPU**, not the published network: the first half of EfficientNet-Lite0, frozen with its ImageNet\n"
        f"weights, under one transformer layer and the query decoder, {metrics['parameters']} parameters. Each network learned for "
        f"{metrics['steps']}\nsteps of {metrics['batch']} images; one seed. {metrics['boxed']} adult images have boxes."
    )


def verdicts(study: Mapping[str, Any]) -> list[str]:
    """Return what the figures allow to be said, a line a variant, and which one ships."""
    base = study["localisation"][BASELINE]
    without = (
        f"Without alignment attention hits a box in {_hits(base, 'pointing')} patients, a guess at the middle of that lung in\n"
        f"  {_hits(base, 'middle_of_a_lung')}, the centre of both lungs in {_hits(base, 'centre_of_lungs')}."
    )
    shipped = (
        f"Shipped: **{study['chosen']}**, by a rule written before the runs: of the variants with alignment whose AUC out of fold\n"
        f"  is at most {LOSS_ALLOWED:g} below the baseline's, the one with the most energy in the boxes; if there is none, the\n"
        "  baseline. DAL alone never ships."
    )
    return [without, *(_verdict(name, study) for name in ORDER if name in study["against_baseline"]), shipped]


def _verdict(name: str, study: Mapping[str, Any]) -> str:
    change, place = study["against_baseline"][name], study["localisation"][name]
    cost = "loses AUC" if change[2] < 0 else "gains AUC" if change[1] > 0 else "leaves the AUC where it was, as far as can be told"
    energy, even = place["energy_in_boxes"], place["box_area"]
    where = "above" if energy[1] > even[0] else "not clearly above"
    beats = "more than" if place["pointing"]["hits"] > place["middle_of_a_lung"]["hits"] else "NOT more than"
    return (
        f"{name} {cost} ({change[0]:+.3f}, {change[1]:+.3f} to {change[2]:+.3f}). Its attention\n  hits a box in "
        f"{_hits(place, 'pointing')} patients, {beats} the guess at the middle of that lung ({_hits(place, 'middle_of_a_lung')});\n"
        f"  its energy in the boxes is {energy[0]:.3f}, {where} that of an even map ({even[0]:.3f})."
    )


def _hits(place: Mapping[str, Any], name: str) -> str:
    return f"{place[name]['hits']} of {place[name]['n']}"


def _table(told: Mapping[str, Any]) -> Sequence[str]:
    return ["### " + told["title"], *([told["text"]] if told["text"] else []), table(told["head"], told["rows"])]


def main() -> None:
    """Write the page of a bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    metrics = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    options.out.write_text(page(metrics, bundle.label), encoding="utf-8")


if __name__ == "__main__":
    main()
