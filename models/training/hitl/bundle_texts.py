"""What the bundle says in words: of drawn chests, or of a site's own patients; and everything that no publication states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.training.hitl.losses import ATTENTION_WEIGHT, MAP_WEIGHT
from models.training.hitl.training import SHIFT

FINDING = "ntm_disease"


@dataclass(frozen=True)
class Source:
    """Whom a network learned from. ``whom``: in a sentence. ``proves``: what a promise on them is worth to others."""

    synthetic: bool
    whom: str
    population: str
    proves: str
    intended_use: str
    limits: tuple[str, ...]
    named: dict[str, dict[str, str]]
    feedback: str


DRAWN = Source(
    True,
    "drawn chests",
    "drawn chests: no patients",
    "nothing about patients",
    "Trying out the way from PACS to PACS with chest CT, and the rounds with physicians. Research use only.",
    (
        "It has never seen a patient: every chest, every clinical value and every reader was drawn by a computer.",
        "Drawn disease is tree-in-bud, widened bronchi and cavities of simple shape; real disease is not.",
    ),
    {
        "phantoms": {
            "title": "chests drawn by models/phantoms, readers drawn by models/training/hitl/readers.py",
            "licence": "Apache-2.0 (this project)",
            "cite": "no patients",
        }
    },
    "simulated readers",
)
SITE = Source(
    False,
    "the site's patients",
    "patients of this site's index",
    "nothing about other sites",
    "Rounds with a site's own readers, on its own scans. Research use only.",
    ("It was measured by whoever made it, on patients of the index alone.",),
    {"site": {"title": "A site's own data", "licence": "the site's", "cite": "index.csv, split by its hash"}},
    "the site's readers",
)
ALWAYS = (
    "It was not compared with other diseases that look alike: tuberculosis, aspiration, other bronchiolitis.",
    "Where smear and species are unknown it goes on without them; such a result is flagged and never called negative.",
    "Its map has a few cells across a lung: it names a region, not a lesion.",
)
ASSUMED = [
    "network sizes, attention after the second block", "that nothing is normalised over a scan or a batch",
    "that it sees density above that of aerated lung alone", "the attention target's formula and its bounds",
    "that a drawn region takes the place of the map only where it lies", "the form of both attention losses",
    f"lambda_att {ATTENTION_WEIGHT}", f"mu {MAP_WEIGHT}, on likely cases with an answer alone", "earlier folds stay in the lesson",
    "division of consensus cases 60/15/25 by keyed hash", "AdamW with a rate that falls as a half cosine, epochs",
    "the epoch with the lowest log-loss on the validation patients",
    f"augmentation: mirrored, turned by up to 10 degrees, shifted by up to {SHIFT:g} of the window",
    "encoding of the clinical data", "a scanty smear counts as grade 1",
    "preprocessing: window -1000 to 400 HU, lungs with a margin of 10 mm, floor outside them and in their outermost 5 mm",
    "clinical data withheld at random in training",
]  # fmt: skip


def outputs(source: Source) -> list[dict[str, Any]]:
    """Return ``outputs`` of the manifest."""
    return [
        {
            "key": FINDING,
            "code": ["NTM-DISEASE", "99PACSAI", "Disease by nontuberculous mycobacteria"],
            "activation": "sigmoid",
            "assessed": True,
            "note": f"Likelihood of disease, not of infection; learned from {source.whom} only.",
        }
    ]
