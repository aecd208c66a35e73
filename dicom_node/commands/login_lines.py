"""What ``check`` says of the pages: who can log in, and whether the hospital's login answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_node.commands.certificate_lines import Told
from dicom_node.config.model import NodeSettings
from dicom_node.web.oidc import LoginRefused, Oidc


def login_lines(settings: NodeSettings) -> Iterator[Told]:
    """Yield a line for each way to log in."""
    web = settings.web
    if not web.has_login:
        yield Told("note", "pages", "nobody can log in, so no result can be answered on its page; set web.users or web.oidc")
        return
    if not web.public_url:
        yield Told("note", "pages", "results carry no link to their page; set web.public_url")
    if web.users:
        yield Told("ok", "pages", f"logins with a password: {len(web.users)}")
    if web.oidc is None:
        return
    try:
        Oidc(web.oidc, "", b"").look()
    except LoginRefused as error:
        yield Told("FAIL", "pages", f"web.oidc at {web.oidc.issuer}: {_for_it(error)}")
    else:
        yield Told("ok", "pages", "the login of web.oidc answers, and its keys can be read")


def _for_it(error: LoginRefused) -> str:
    """Return what people at the login are told, without sending IT to IT, and what is behind it."""
    text = re.sub(r" Please (try again, or )?tell IT\.$", "", str(error))
    cause = str(error.__cause__ or "").partition("\n")[0]
    return f"{text} ({cause})" if cause else text
