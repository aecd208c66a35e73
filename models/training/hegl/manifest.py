"""The texts and tables of the bundle with aligned attention, filled with its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dicom_node.core import codes
from models.training.cxr.radiograph_input import radiograph_input
from models.training.hegl.study import ORDER
from models.training.hegl.train import LUNG_WEIGHT
from models.training.hegl.training_set import CLASSES, LEAST
from models.training.markdown import interval as _interval

CODES = {
    "abnormal": list(codes.ABNORMAL),
    "pneumonia": list(codes.PNEUMONIA),
    "infiltration": ["INFILTRATION", "99PACSAI", "Infiltration"],
    "atelectasis": ["46621007", "SCT", "Atelectasis"],
    "edema": ["19242006", "SCT", "Pulmonary edema"],
    "effusion": ["60046008", "SCT", "Pleural effusion"],
}
SMALL = "Trained for minutes on a CPU, its first half frozen as ImageNet left it; the ViT-B/16 was never trained."


def manifest(config: Mapping[str, Any], metrics: Mapping[str, Any], parameters: int, variant: str, *, twin: bool) -> dict[str, Any]:
    """Return ``bundle.yaml`` without its file list."""
    size, count = int(config["size"]), len(CLASSES)
    return {
        "name": "cxr_hegl",
        "version": "0.1.0",
        "task": "Abnormal or not, on one frontal chest radiograph of an adult, with the network's attention as its explanation.",
        "intended_use": "Trying out attention that was trained on people's marks, on adults' PA radiographs. Research use only.",
        "worth": worth(metrics, twin=twin),
        "evidence": "demo",
        "synthetic": False,
        "twin": twin,
        "needs": ["lungs_cxr@>=0.1"],
        "inputs": radiograph_input(config),
        "preprocessing": dict(config),
        "outputs": outputs(),
        "graph_outputs": {
            "logits": ["n", count],
            "probabilities": ["n", count],
            "embedding": ["n", "k"],
            "attention": ["n", count, size // 16, size // 16],
        },
        "saliency": "attention",
        "saliency_outputs": {"Attention": "attention", "of": "last decoder layer, mean over heads", "values": "raw, sum to 1"},
        "parity_tolerance": 1e-4,
        "architecture": {"name": "hegl_vit", "file": "models/zoo/hegl_vit.py", "parameters": parameters, "variant": variant},
        "out_of_distribution": {"reference": "reference.npz", "limit": "distance_limit"},
        "limits": [
            "Attention says where the network looked. It is not proof that the finding lies there.",
            f"Radiologists' boxes exist for {metrics['boxed']} adult images, all of pneumonia; on others only the lungs are known.",
            *([SMALL] if twin else []),
            "Within the one source with both labels every abnormal image is labelled pneumonia: the two cannot be told apart.",
            "Infiltration, atelectasis, edema and effusion are words mined from one hospital's reports: internal, not assessed.",
            "Tuberculosis comes from one source without normals: no figure here is evidence that tuberculosis is detected.",
            "Nearly all normal adults come from one hospital: those of other sources are recognised in part by style.",
            "AP and bedside images trained along, but no threshold was fitted on them. Children are outside the intended use.",
        ],
        "assumed": [
            "width, depth and frozen convolutional stem of the twin",
            "form of the penalty in the Dice of human alignment (1)",
            f"lungs as a weak mark where no box is: share of attention outside them, weight {LUNG_WEIGHT:g}; pasted opacities: 1",
            "learned queries in the place of text vectors",
            "learning rate, epochs, share of sources and of boxed images in a batch",
            "crop margin and CLAHE clip limit",
            "temperature fitted with labels weighted alike",
            "target of the triage policy (specificity 0.70)",
        ],
    }


def worth(metrics: Mapping[str, Any], *, twin: bool) -> str:
    """Return what alignment bought and where attention points, in figures; the card says the rest."""
    study, place = metrics["hegl"], metrics["hegl"]["shipped"]["localisation"]
    texts = ["This model shows a method at work; it proves nothing about patients."]
    if twin:
        texts.append("It is a small twin that was trained for minutes on a CPU.")
    change = study["against_baseline"].get(study["chosen"])
    if change:
        verdict = "worse" if change[2] < 0 else "better" if change[1] > 0 else "no more than chance may give"
        texts.append(
            f"Aligning its attention ({study['chosen']}) changed the AUC by {change[0]:+.3f} ({change[1]:+.3f} to "
            f"{change[2]:+.3f}), {study['form']}: {verdict}."
        )
    if place.get("images"):
        texts.append(
            f"Its strongest attention lies in a radiologist's box in {place['pointing']['hits']} of {place['pointing']['n']} "
            f"patients it never saw; a guess at the middle of that lung hits {place['middle_of_a_lung']['hits']}, at the centre of "
            f"both lungs {place['centre_of_lungs']['hits']}."
        )
    return " ".join(texts)


def outputs() -> list[dict[str, Any]]:
    """Return the classes in the order of the graph's columns; only ``abnormal`` is assessed."""
    notes = {
        "abnormal": "Any abnormality of the kinds trained on; says nothing of which.",
        "pneumonia": "Not assessed: in the one source with both labels every abnormal image is called pneumonia.",
    }
    other = f"Not assessed: a word of one hospital's reports (at least {LEAST} patients), no threshold was fitted."
    return [
        {
            "key": name,
            "code": CODES[name],
            "activation": "sigmoid",
            "assessed": name == "abnormal",
            "note": notes.get(name, other),
        }
        for name in CLASSES
    ]


def tables(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the card prints, as titles, sentences and cells. ``study``: as the recipe's ``metrics["hegl"]``."""
    sigmas = sorted(next(iter(study["noise"].values())), key=float)
    made = [
        {
            "title": "What alignment does: abnormal or not, patients that a network did not see",
            "text": f"One source; {study['form']}. F1 and MCC at probability 0.5. 95 % intervals by drawing patients.",
            "head": ["variant", "images", "AUC", "F1", "MCC", "AUC against baseline", "AUC on the test part"],
            "rows": [
                [name, t["images"], _interval(t["auc"]), _interval(t["f1"]), _interval(t["mcc"]),
                 _interval(study["against_baseline"].get(name)), _interval(study["test"][name]["auc"])]
                for name, t in _ordered(study["unseen"])
            ],
        },
        {
            "title": "Which finding, among abnormal images only (AUC)",
            "text": "Labels are words of reports. Without normals, so that 'sick or not' does not help.",
            "head": ["variant", *_findings(study)],
            "rows": [
                [name, *(_interval(t["findings"].get(f, {}).get("auc")) for f in _findings(study))]
                for name, t in _ordered(study["unseen"])
            ],
        },
        {
            "title": "Does attention lie in the radiologists' boxes?",
            "text": "Adult boxed images, each judged by networks that did not see its patient. Hits are patients. The guess is the "
            "middle of the lung that the highest value lies in; the area of the boxes is what an even map would have as energy.",
            "head": ["variant", "images", "pointing", "guess", "centre of lungs", "energy in box", "area of box", "IoU, top 10 %"],
            "rows": [_place(name, t) for name, t in _ordered(study["localisation"])],
        },
        {
            "title": "Gaussian noise (AUC on the test part, one source; sigma in grey values 0..1)",
            "text": "",
            "head": ["variant", *(f"sigma {s}" for s in sigmas)],
            "rows": [[name, *(_interval(t[s]) for s in sigmas)] for name, t in _ordered(study["noise"])],
        },
        {
            "title": "What the pairs of L_DAL cost (milliseconds of CPU a step of 32 images)",
            "text": "",
            "head": ["findings", "pairs", "pairs used", "ms"],
            "rows": [[r["findings"], r["pairs"], r["pairs_used"], f"{r['ms']:.0f}"] for r in study["pairs"]],
        },
    ]  # fmt: skip
    if "others" in study:
        made.append(_others(study))
    if "grid" in study:
        made.append(_grid(study))
    return made


def _short(study: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    return (
        f"One fold (K=1), one training of {study['short_steps']} steps each on maps at half the side; {rows[0]['images']} images, "
        f"{rows[0]['boxed']} with boxes; no intervals: a direction, not a proof."
    )


def _others(study: Mapping[str, Any]) -> dict[str, Any]:
    rows = _ordered(study["others"])
    return {
        "title": "Schedules of the weights, pairs of L_DAL, and the convolutional variant",
        "text": _short(study, [t for _, t in rows]),
        "head": ["variant", "AUC", "energy in box"],
        "rows": [[name, f"{t['auc']:.3f}", f"{t['energy_in_boxes']:.3f}"] for name, t in rows],
    }


def _grid(study: Mapping[str, Any]) -> dict[str, Any]:
    rows = study["grid"]
    betas = sorted({r["beta"] for r in rows})
    cells = {(r["alpha"], r["beta"]): f"{r['auc']:.3f} / {r['energy_in_boxes']:.3f}" for r in rows}
    return {
        "title": "alpha (human alignment) x beta (discrimination): AUC / energy in box",
        "text": _short(study, rows),
        "head": ["alpha", *(f"beta {b:g}" for b in betas)],
        "rows": [[f"{a:g}", *(cells[a, b] for b in betas)] for a in sorted({r["alpha"] for r in rows})],
    }


def _place(name: str, table: Mapping[str, Any]) -> list[Any]:
    if not table.get("images"):
        return [name, 0, *["-"] * 6]
    hits = [f"{table[k]['hits']}/{table[k]['n']}" for k in ("pointing", "middle_of_a_lung", "centre_of_lungs")]
    area = table.get("box_area")
    shares = [_interval(table.get("energy_in_boxes")), f"{area[0]:.3f}" if area else "-", _interval(table.get("iou_at_top_10"))]
    return [name, table["images"], *hits, *shares]


def _ordered(told: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(told.items(), key=lambda item: ORDER.index(item[0]))


def _findings(study: Mapping[str, Any]) -> list[str]:
    return sorted({f for t in study["unseen"].values() for f in t["findings"]})
