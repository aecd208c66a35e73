"""What ``check`` says of the pages: who can log in, and whether the hospital's login answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_node.commands.checks.line import Line, Mark
from dicom_node.config.model import NodeSettings
from dicom_node.web.oidc import LoginRefused, Oidc


def login_lines(settings: NodeSettings) -> Iterator[Line]:
    """Yield a line for each way to log in."""
    web = settings.web
    if not web.has_login:
        yield Line(Mark.NOTE, "pages", "nobody can log in, so no result can be answered on its page; set web.users or web.oidc")
        return
    if not web.public_url:
        yield Line(Mark.NOTE, "pages", "results carry no link to their page; set web.public_url")
    if web.users:
        yield Line(Mark.OK, "pages", f"logins with a password: {len(web.users)}")
    if web.oidc is None:
        return
    try:
        Oidc(web.oidc, "", b"").look()
    except LoginRefused as error:
        yield Line(Mark.FAIL, "pages", f"web.oidc at {web.oidc.issuer}: {_for_it(error)}")
    else:
        yield Line(Mark.OK, "pages", "the login of web.oidc answers, and its keys can be read")


def _for_it(error: LoginRefused) -> str:
    """Return what people at the login are told, without sending IT to IT, and what is behind it."""
    text = re.sub(r" Please (try again, or )?tell IT\.$", "", str(error))
    cause = str(error.__cause__ or "").partition("\n")[0]
    return f"{text} ({cause})" if cause else text
