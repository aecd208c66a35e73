"""What the pages that need a login are made of: database, home, and the settings they follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa

from dicom_node.core.feedback import ReaderClaim
from dicom_node.feedback.readers import identify
from dicom_node.feedback.settings import FeedbackSettings, ReaderSettings
from dicom_node.feedback.step import Desk
from dicom_node.home import Home
from dicom_node.web.settings import WebSettings


@dataclass(frozen=True)
class Site:
    """One node as its pages see it."""

    database: sa.Engine
    home: Home
    web: WebSettings
    readers: tuple[ReaderSettings, ...] = ()
    feedback: FeedbackSettings = field(default_factory=FeedbackSettings)

    @cached_property
    def key(self) -> bytes:
        """The site's key."""
        return self.home.site_key()

    @cached_property
    def desk(self) -> Desk:
        """What recording an answer needs."""
        return Desk(home=self.home, readers=self.readers, settings=self.feedback)

    def claim_of(self, login: str) -> ReaderClaim:
        """Return how an answer names the person who is logged in."""
        return ReaderClaim(kind="login", identity=login, authenticated=True)

    def reader_of(self, login: str) -> str:
        """Return the pseudonym of the person in the log."""
        return identify(self.claim_of(login), self.readers, self.home.token).pseudonym

    def names(self) -> dict[str, str]:
        """Return the readers' names by pseudonym."""
        claims = ((one, ReaderClaim(kind="dicom", identity=one.name)) for one in self.readers)
        found = {identify(claim, self.readers, self.home.token).pseudonym: _plain_name(one.name) for one, claim in claims}
        return {pseudonym: name for pseudonym, name in found.items() if pseudonym}


def _plain_name(name: str) -> str:
    """Return ``Rao^Asha^^Dr.`` as people write it: ``Dr. Asha Rao``."""
    family, given, middle, prefix, suffix = (*name.partition("=")[0].split("^"), "", "", "", "", "")[:5]
    return " ".join(part for part in (prefix, given, middle, family, suffix) if part)
