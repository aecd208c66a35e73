"""Named remedies against learning the hospital instead of the lungs, each of which can be switched on and off.

===================  ===========================================================================================================
lung crop            the picture is cut to the lungs' box: markers, arms and the shape of the field are gone
outside masked       an even grey outside the widened lungs
histogram borrowing  every second picture gets the grey-value distribution of another one
balanced sampling    half of what is drawn is normal, and within a label every source and view comes alike
pasted opacities     soft densities are laid into normal lungs, which then count as abnormal: a cue that no hospital owns
photometric          gamma, contrast, blur, noise, JPEG: ``none``, ``mild``, or ``heavy`` (stronger, with letters and borders)
MixStyle             channel statistics of features are mixed between images (Zhou et al., ICLR 2021)
source adversary     gradient reversal: the embedding must not tell the source of an abnormal image (Ganin et al., JMLR 2016)
group DRO            the worst group of source and label weighs most (Sagawa et al., ICLR 2020)
===================  ===========================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Remedies:
    """Which remedies a training uses. ``pasted``: share of the normals that get an opacity."""

    crop: bool = True
    masked: bool = False
    histogram: bool = True
    balanced: bool = True
    pasted: float = 0.25
    photometric: str = "mild"
    mixstyle: bool = False
    adversary: bool = False
    group_dro: bool = False

    def facts(self) -> dict[str, Any]:
        """Return the switches as JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def pixels(self) -> tuple[bool, bool, bool, str]:
        """What shapes the pictures themselves; the rest shapes how they are drawn and learned from."""
        return self.crop, self.masked, self.histogram, self.photometric


#: The remedies that bundle cxr_tb 0.1 was trained with: the base that each is switched on or off from.
AS_BEFORE = Remedies()
NONE = Remedies(crop=False, histogram=False, balanced=False, pasted=0.0, photometric="none")


@dataclass(frozen=True)
class Switch:
    """A named remedy: the fields that switch it on, and off."""

    name: str
    on: Mapping[str, Any]
    off: Mapping[str, Any]

    def is_on(self, remedies: Remedies) -> bool:
        """Say whether the remedy is used."""
        return all(getattr(remedies, key) == value for key, value in self.on.items())

    def turned(self, remedies: Remedies) -> Remedies:
        """Return the same remedies with this one the other way round."""
        return replace(remedies, **(self.off if self.is_on(remedies) else self.on))


SWITCHES = (
    Switch("lung crop", {"crop": True}, {"crop": False}),
    Switch("outside masked", {"masked": True}, {"masked": False}),
    Switch("histogram borrowing", {"histogram": True}, {"histogram": False}),
    Switch("balanced sampling", {"balanced": True}, {"balanced": False}),
    Switch("pasted opacities", {"pasted": 0.25}, {"pasted": 0.0}),
    Switch("heavy photometric", {"photometric": "heavy"}, {"photometric": "mild"}),
    Switch("MixStyle", {"mixstyle": True}, {"mixstyle": False}),
    Switch("source adversary", {"adversary": True}, {"adversary": False}),
    Switch("group DRO", {"group_dro": True}, {"group_dro": False}),
)
