"""Small plots as SVG, drawn by hand: they need no library, and the same figures give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike

SIDE, EDGE = 300, 44
NETWORK, BASELINE, FAINT = "#0b6e99", "#b4552d", "#9aa5b1"


def roc(title: str, labels: ArrayLike, scores: Mapping[str, ArrayLike]) -> str:
    """Return the ROC curves of several scores of the same images, ties as slanted lines."""
    y = np.asarray(labels, bool)
    parts = [_line([(0, 0), (1, 1)], FAINT, dashed=True)]
    for (name, values), colour, height in zip(scores.items(), (NETWORK, BASELINE), (0.13, 0.05), strict=False):
        s = np.asarray(values, np.float64)
        steps = np.unique(s)[::-1]
        points = [(0.0, 0.0), *((float((s[~y] >= t).mean()), float((s[y] >= t).mean())) for t in steps)]
        parts += [_line(points, colour), _text(0.97, height, name, colour, "end")]
    return _frame(title, "1 - specificity (images)", "sensitivity (images)", parts)


def calibration(title: str, bins: Sequence[Mapping[str, float]]) -> str:
    """Return the reliability diagram: observed share with Wilson's interval over mean probability."""
    parts = [_line([(0, 0), (1, 1)], FAINT, dashed=True)]
    for one in bins:
        x, y = one["predicted"], one["observed"]
        parts.append(_line([(x, one["low"]), (x, one["high"])], NETWORK))
        parts.append(f'<circle cx="{_x(x)}" cy="{_y(y)}" r="4" fill="{NETWORK}"/>')
        parts.append(_text(min(x + 0.03, 0.9), y, f"n={one['n']}", FAINT))
    return _frame(title, "probability", "share abnormal", parts)


def confusions(title: str, policies: Mapping[str, Mapping[str, int]]) -> str:
    """Return a table of four counts for every policy, patients as units."""
    width, height = 70 + 230 * max(1, len(policies)), 190
    parts = []
    for n, (name, count) in enumerate(policies.items()):
        left = 70 + 230 * n
        parts.append(_words(left + 90, 50, name, "#1f2933", "middle"))
        cells = (("true_positive", 0, 0), ("false_negative", 1, 0), ("false_positive", 0, 1), ("true_negative", 1, 1))
        for key, column, line in cells:
            right = key.startswith("true")
            parts.append(
                f'<rect x="{left + 90 * column}" y="{76 + 44 * line}" width="86" height="40" '
                f'fill="{"#cfe8f3" if right else "#f6ddd2"}"/>'
                + _words(left + 90 * column + 43, 101 + 44 * line, str(count[key]), "#1f2933", "middle")
            )
        parts += [_words(left + 43, 70, "called", FAINT, "middle"), _words(left + 133, 70, "not called", FAINT, "middle")]
    parts += [_words(6, 101, "abnormal", FAINT), _words(6, 145, "normal", FAINT)]
    return _svg(width, height, title, parts)


def _frame(title: str, across: str, up: str, parts: Sequence[str]) -> str:
    box = f'<rect x="{EDGE}" y="{EDGE}" width="{SIDE}" height="{SIDE}" fill="none" stroke="{FAINT}"/>'
    middle = EDGE + SIDE / 2
    words = [
        _words(middle, EDGE + SIDE + 34, across, "#1f2933", "middle"),
        f'<g transform="rotate(-90 16 {middle})">' + _words(16, middle, up, "#1f2933", "middle") + "</g>",
    ]
    for tick in (0.0, 0.5, 1.0):
        words.append(_words(float(_x(tick)), EDGE + SIDE + 16, f"{tick:g}", FAINT, "middle"))
        words.append(_words(EDGE - 6, float(_y(tick)) + 4, f"{tick:g}", FAINT, "end"))
    return _svg(SIDE + 2 * EDGE, SIDE + 2 * EDGE, title, [box, *words, *parts])


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    paper = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", paper, _words(6, 22, title, "#1f2933"), *parts, "</svg>"]) + "\n"


def _line(points: Sequence[tuple[float, float]], colour: str, *, dashed: bool = False) -> str:
    path = " ".join(f"{_x(x)},{_y(y)}" for x, y in points)
    dash = ' stroke-dasharray="4 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return _words(float(_x(x)), float(_y(y)), words, colour, anchor)


def _words(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'


def _x(value: float) -> str:
    return f"{EDGE + SIDE * value:.1f}"


def _y(value: float) -> str:
    return f"{EDGE + SIDE * (1 - value):.1f}"
