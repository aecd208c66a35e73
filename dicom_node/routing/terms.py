"""Body part and view in the field's own words: defined terms, coded regions and views, and what vendors write instead.

An image's body part (or view) is a *set of possibilities*: Body Part Examined and Anatomic Region Sequence together, LATERAL
without a side, FRONTAL without a direction. An empty set is unknown. Sources: PS3.16 CID 4009, 4010, 4031 and Annex L; PS3.3
C.8.11.5 (View Position); SNOMED RT values (``T-…``, ``R-…``) as older devices write them.
"""

from __future__ import annotations

from collections.abc import Iterable

from dicom_node.core.study import HeaderFacts

#: Written where nobody knows: the same as an empty element.
_SAYS_NOTHING = frozenset({"", "UNKNOWN", "OTHER", "NONE", "N/A", "NA", "UNDEFINED", "DEFAULT", "GENERAL"})

_CHEST, _ABDOMEN, _PELVIS, _NECK = "CHEST", "ABDOMEN", "PELVIS", "NECK"
_BODY_PARTS: dict[str, frozenset[str]] = {
    **{
        word: frozenset({_CHEST})
        for word in (
            "CHEST", "THORAX", "TORAX", "LUNG", "LUNGS", "CHEST PA", "CHEST AP", "CXR",
            "816094009", "51185008", "T-D3000", "39607008", "T-28000",
        )
    },
    "CHESTABDOMEN": frozenset({_CHEST, _ABDOMEN}),
    "CHESTABDPELVIS": frozenset({_CHEST, _ABDOMEN, _PELVIS}),
    "NECKCHEST": frozenset({_NECK, _CHEST}),
    "WHOLEBODY": frozenset({_CHEST, _ABDOMEN, _PELVIS, _NECK}),
}  # fmt: skip
_REGION_CODES: dict[str, frozenset[str]] = {
    **{code: frozenset({_CHEST}) for code in ("816094009", "51185008", "T-D3000", "39607008", "T-28000")},
    **{code: frozenset({_CHEST, _ABDOMEN}) for code in ("416550000", "R-FAB55")},
    **{code: frozenset({_CHEST, _ABDOMEN, _PELVIS}) for code in ("416775004", "R-FAB56")},
    **{code: frozenset({_NECK, _CHEST}) for code in ("417437006", "R-FAB52")},
    **{code: frozenset({_CHEST, _ABDOMEN, _PELVIS, _NECK}) for code in ("38266002", "T-D0010")},
    **{code: frozenset({_ABDOMEN}) for code in ("818981001", "113345001", "T-D4000")},
    **{code: frozenset({_PELVIS}) for code in ("816092008", "T-D6000")},
    **{code: frozenset({_NECK}) for code in ("45048000", "T-D1600")},
    **{code: frozenset({"HEAD"}) for code in ("69536005", "T-D1100")},
    **{code: frozenset({"HAND"}) for code in ("85562004", "T-D8700")},
    **{code: frozenset({"FOOT"}) for code in ("56459004", "T-D9700")},
    **{code: frozenset({"KNEE"}) for code in ("72696002", "T-D9200")},
    **{code: frozenset({"SHOULDER"}) for code in ("16982005", "T-D2220")},
    **{code: frozenset({"CSPINE"}) for code in ("122494005", "T-11501")},
    **{code: frozenset({"TSPINE"}) for code in ("122495006", "T-11502")},
    **{code: frozenset({"LSPINE"}) for code in ("122496007", "T-11503")},
    **{code: frozenset({"RIB"}) for code in ("113197003", "T-11300")},
}
_VIEWS: dict[str, frozenset[str]] = {
    **{word: frozenset({"LL", "RL"}) for word in ("LATERAL", "LAT", "399067008", "R-102CD")},
    **{word: frozenset({"PA", "AP"}) for word in ("FRONTAL", "399033003", "R-10202")},
    **{word: frozenset({"PA"}) for word in ("PA", "272479007", "R-40888", "R-10214")},
    **{word: frozenset({"AP"}) for word in ("AP", "399348003", "R-10206")},
    **{word: frozenset({"LL"}) for word in ("LL", "LLAT", "399173006", "R-10236")},
    **{word: frozenset({"RL"}) for word in ("RL", "RLAT", "399198007", "R-10232")},
}
_VIEW_CODES = frozenset(key for key in _VIEWS if key[0].isdigit() or key.startswith("R-"))
_MODALITY_OF_CLASS = {  # the IOD fixes Modality (PS3.3 A.2, A.3, A.26, A.38)
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
}


def normal(value: str) -> str:
    """Return a word as it is compared: upper case, one space between words, underscores as spaces."""
    return " ".join(value.replace("_", " ").upper().split())


def modality_of(facts: HeaderFacts, sop_class_uid: str) -> str:
    """Return the modality: as written, else as the SOP class fixes it, else empty."""
    return normal(facts.modality) or _MODALITY_OF_CLASS.get(sop_class_uid, "")


def body_part_terms(words: Iterable[str]) -> frozenset[str]:
    """Return what these words of a rule mean."""
    return frozenset().union(*(_BODY_PARTS.get(normal(word), frozenset({normal(word)})) for word in words))


def possible_body_parts(facts: HeaderFacts) -> frozenset[str]:
    """Return what the image may show; empty when the header does not say.

    A coded region that is not in the table says nothing here: the pixel gate decides.
    """
    word = normal(facts.body_part)
    named = frozenset() if word in _SAYS_NOTHING else _BODY_PARTS.get(word, frozenset({word}))
    return named.union(*(_REGION_CODES.get(code.strip().upper(), frozenset()) for code in facts.anatomic_regions))


def view_terms(words: Iterable[str]) -> frozenset[str]:
    """Return what these words of a rule mean: LATERAL is LL and RL."""
    return frozenset().union(*(_VIEWS.get(normal(word), frozenset({normal(word)})) for word in words))


def possible_views(facts: HeaderFacts) -> frozenset[str]:
    """Return the views the image may be; empty when the header does not say."""
    word = normal(facts.view_position)
    named = frozenset() if word in _SAYS_NOTHING else _VIEWS.get(word, frozenset({word}))
    return named.union(*(_VIEWS[code] for code in map(normal, facts.view_codes) if code in _VIEW_CODES))
