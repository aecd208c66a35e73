"""Which bytes are which letters: MSH-18 (HL7 table 0211) as Python codecs. Decoded right, or refused; never guessed."""

from __future__ import annotations

from collections.abc import Sequence

#: HL7 table 0211, and the spellings that senders use for the same.
_CODECS = {
    "ASCII": "ascii",
    "ISO IR6": "ascii",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
    "UTF8": "utf-8",
    "GB 18030-2000": "gb18030",
    "GB18030": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "WINDOWS-1252": "cp1252",
    **{f"8859/{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    **{f"ISO-8859-{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
}
#: Reached by escape sequences from ASCII: one codec knows them all.
_JAPANESE = frozenset(("ISO IR14", "ISO IR87", "ISO IR159"))
_ISO_2022_JP = "iso2022_jp_ext"
_ESCAPE = b"\x1b"


class UnknownCharacterSet(ValueError):
    """The text is in a character set that cannot be read here. The message is a sentence for the sender."""


def is_known(name: str) -> bool:
    """Say whether messages in this character set can be read."""
    return _plain(name) in _CODECS or _plain(name) in _JAPANESE


def decode(data: bytes, names: Sequence[str], assumed: str = "") -> tuple[str, str]:
    """Return the text, and the codec it was read with.

    Parameters
    ----------
    names
        The repetitions of MSH-18; an empty first one stands for ASCII.
    assumed
        What to take where MSH-18 is empty; empty: UTF-8, of which ASCII is a part, and which rarely fits by accident.

    Raises
    ------
    UnknownCharacterSet
        The character set is not known, or the bytes are not text in it.
    """
    codec = _codec(data, [_plain(name) for name in names if _plain(name)], bool(names) and not _plain(names[0]), _plain(assumed))
    try:
        return data.decode(codec), codec
    except UnicodeDecodeError:
        stated = "stated in MSH-18" if any(names) else "assumed where MSH-18 is empty (setting orders.listener.character_set)"
        raise UnknownCharacterSet(f"The message is not text in the character set {stated}.") from None


def _codec(data: bytes, names: list[str], first_is_empty: bool, assumed: str) -> str:
    stated = names or ([assumed] if assumed else ["UTF-8"])
    if any(name in _JAPANESE for name in stated):
        if all(name in _JAPANESE or _CODECS.get(name) == "ascii" for name in stated):
            return _ISO_2022_JP
        raise UnknownCharacterSet("MSH-18 mixes character sets in a way that cannot be read here.")
    unknown = [name for name in stated if name not in _CODECS]
    if unknown:
        raise UnknownCharacterSet("The character set stated in MSH-18 cannot be read here; send UNICODE UTF-8.")
    codecs = {_CODECS[name] for name in stated} | ({"ascii"} if names and first_is_empty else set())
    if len(codecs) > 1 and _ESCAPE in data:  # switched in the middle of the text
        raise UnknownCharacterSet("The message switches between character sets; send UNICODE UTF-8.")
    return "ascii" if names and first_is_empty else _CODECS[stated[0]]


def _plain(name: str) -> str:
    return " ".join(name.upper().split())
