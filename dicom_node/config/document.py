"""A YAML file as plain values, and where each of them stands.

Every scalar stays the text that was written, so an AE title ``ON`` is no boolean, ``+10:30`` no number of seconds and version
``1.10`` not ``1.1``; the settings models read numbers and booleans out of texts. Duplicate keys, aliases and tags are mistakes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Loc = tuple[str | int, ...]
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ["str", "int", "float", "bool", "null", "timestamp", "map", "seq", "merge", "value"]
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_DASH_AND_NAME = re.compile(r"^\s*-[A-Za-z]")
_NAME_AND_VALUE = re.compile(r"^\s*(- )?\w+:[^\s/]")
#: What PyYAML was reading. Of these two the end tells little: it is found where the next one begins, or nowhere.
_IN_QUOTES, _IN_NAME = "while scanning a quoted scalar", "while scanning a simple key"
_TOLD_WHERE_BEGUN = frozenset({_IN_QUOTES, _IN_NAME})
_SIMPLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*$")


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: where (path of settings), and what, with its cure. ``at_key``: the name itself is wrong."""

    loc: Loc
    message: str
    at_key: bool = False


class Unparsable(Exception):
    """The text is not YAML; ``line`` and ``column`` count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


@dataclass(frozen=True)
class Document:
    """``data``: dicts, lists, texts and ``None``. ``root``: the nodes with their marks; ``None`` for an empty file."""

    data: Any
    root: yaml.Node | None
    mistakes: list[Mistake] = field(default_factory=list)

    def position(self, loc: Loc, *, at_key: bool = False) -> tuple[int, int]:
        """Return line and column, from 1, of the value at ``loc``, or of the nearest thing above it that is written."""
        node, mark = self.root, self.root.start_mark if self.root else None
        for part in loc:
            step = _child(node, part, last=at_key)
            if step is None:
                continue
            key, node = step
            mark = key.start_mark if key is not None and (at_key or _is_empty(node)) else node.start_mark
        return (mark.line + 1, mark.column + 1) if mark else (1, 1)

    def written(self, loc: Loc) -> Loc:
        """Return ``loc`` without the parts that have no node, such as the tag of a union's branch; a name at the end stays."""
        kept: list[str | int] = []
        node = self.root
        for index, part in enumerate(loc):
            step = _child(node, part)
            if step is not None:
                node = step[1]
                kept.append(part)
            elif index == len(loc) - 1 and isinstance(part, str) and not isinstance(node, yaml.ScalarNode):
                kept.append(part)
        return tuple(kept)


def dotted(loc: Loc) -> str:
    """Return the path as people write it: ``routing.rules[2].pipeline``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _SIMPLE.match(part) else f'"{part}"')
    return text or "the file"


def parse(text: str) -> Document:
    """Read one YAML document.

    Raises
    ------
    Unparsable
        The text is not one YAML document.
    """
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.context_mark if error.context in _TOLD_WHERE_BEGUN else error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        hint = _yaml_hint(error, text.splitlines()[max(0, line - 2) : line])
        raise Unparsable(line, column, f"this is not YAML: {error.problem or error.context}. {hint}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise Unparsable(line, column, "a control character stands here; delete it.") from None
    except RecursionError:
        raise Unparsable(1, 1, "the settings are nested too deeply.") from None
    except (ValueError, OverflowError):  # escapes such as "\UFFFFFFFF" have no character
        line = loader.line + 1 if loader else 1
        raise Unparsable(line, 1, "an escape in quotation marks names no character.") from None
    document = Document(None, root)
    if root is None:
        return document
    try:
        data = _plain(root, (), document.mistakes, set())
    except RecursionError:
        raise Unparsable(1, 1, "the settings are nested too deeply.") from None
    return Document(data, root, document.mistakes)


def _plain(node: yaml.Node, loc: Loc, mistakes: list[Mistake], seen: set[int]) -> Any:
    if id(node) in seen:
        mistakes.append(Mistake(loc, "an alias (*name) stands here; write the value out.", at_key=True))
        return None
    seen.add(id(node))
    if node.tag not in _PLAIN_TAGS:
        mistakes.append(Mistake(loc, f"the tag {node.tag} means nothing here; delete it."))
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in _NULLS else str(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*loc, index), mistakes, seen) for index, child in enumerate(node.value)]
    mapping: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            mistakes.append(Mistake(loc, "a list or mapping stands where the name of a setting belongs."))
            continue
        if key.value in mapping:
            mistakes.append(Mistake((*loc, key.value), f'"{key.value}" stands here twice; delete one.', at_key=True))
            continue
        mapping[key.value] = _plain(value, (*loc, key.value), mistakes, seen)
    return mapping


def _child(node: yaml.Node | None, part: str | int, *, last: bool = False) -> tuple[yaml.Node | None, yaml.Node] | None:
    """Return key node and value node; of a duplicate key the first, whose value is the one that is read, or the ``last``."""
    if isinstance(node, yaml.MappingNode):
        found = [(key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode) and key.value == part]
        return found[-1 if last else 0] if found else None
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return None, node.value[part]
    return None


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style is None and node.value == ""


def _yaml_hint(error: yaml.MarkedYAMLError, near: list[str]) -> str:
    """Return the cure; ``near``: the line of the mistake and the one before it, which often is the one that is wrong."""
    problem = error.problem or ""
    if "\\t" in problem or "'\\t'" in problem:
        return "Indent with spaces, not with tabs."
    if error.context == _IN_QUOTES:
        return "The quotation mark that opens here is not closed."
    if any("\u00a0" in line for line in near):
        return "A non-breaking blank stands in this line or the one before; type its blanks anew."
    if any(mark in line for line in near for mark in "\u201c\u201d\u201e"):
        return "Curly quotation marks are letters here; write straight ones."
    if any(_DASH_AND_NAME.match(line) for line in near):
        return "Put a blank after the dash, in this line or the one before."
    if any(_NAME_AND_VALUE.match(line) for line in near):
        return "Put a blank after the colon, in this line or the one before."
    if "mapping values are not allowed" in problem:
        return "Put a text that holds a colon in quotation marks, or check the indentation."
    if "<block end>" in problem:
        return "Indent this line as the others that it belongs to."
    return "Check indentation, colons and quotation marks of this line and the one before."
