"""Small pieces of a page: elements, numbers, chips of verdicts, plots of intervals.

Everything is `Markup`: text that goes in is escaped, what comes out is not escaped again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from freqbias import schema

GLYPHS = {
    "supported": "✓",
    "opposite": "✗",
    "equivalent": "=",
    "inconclusive": "?",
    "init-dependent": "±",
    "not decided": "\N{EN DASH}",
}
MEANINGS = {
    "supported": "the interval lies beyond the margin, in the claimed direction",
    "opposite": "the interval lies beyond the margin, in the other direction",
    "equivalent": "the interval lies within the margin: no effect that matters",
    "inconclusive": "the interval reaches over the margin: more seeds decide",
    "init-dependent": "the verdict changes when the initial weights are halved",
    "not decided": "too few live seeds in an arm, or an arm below its accuracy floor",
}
_DOTS = {"primary": "e", "second": "o", "box": "b"}  # classes of style.css


def tag(name: str, *content: Any, **attributes: Any) -> Markup:
    """An element.

    Args:
      name: of the element.
      content: texts, which are escaped, and `Markup`, which is not.
      attributes: ``class_`` stands for class, ``aria_label`` for aria-label; empty ones are left
        out.

    Returns:
      The element, closed.
    """
    given = Markup("").join(
        Markup(' {}="{}"').format(key.strip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value not in ("", None)
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, given, joined(content))


def joined(parts: Sequence[Any], between: str = "") -> Markup:
    """Texts and `Markup`, one after the other."""
    return Markup(between).join(parts)


def line_break() -> Markup:
    """The end of a line."""
    return Markup("<br>")


def bold(text: Any) -> Markup:
    """What the eye should find first."""
    return tag("b", text)


def soft(text: Any, kind: str = "none") -> Markup:
    """What is said beside; ``kind`` is a class of style.css."""
    return tag("span", text, class_=kind)


def link(target: str, text: Any) -> Markup:
    """A link."""
    return tag("a", text, href=target)


# --- Numbers --------------------------------------------------------------------------------------


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign (a true minus), or a dash for none."""
    return _text(value, f"+.{digits}f")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for none."""
    return _text(value, f".{digits}f")


def percent(value: float | None, digits: int = 0) -> str:
    """A share in per cent, or a dash for none."""
    scaled = None if value is None else 100 * value
    found = _text(scaled, f".{digits}f")
    return found if found == "\N{EN DASH}" else f"{found}\u202f%"


def _text(value: float | None, form: str) -> str:
    if value is None or not np.isfinite(value):
        return "\N{EN DASH}"
    return format(value, form).replace("-", "\N{MINUS SIGN}")


# --- Verdicts and effects -------------------------------------------------------------------------


def chip(verdict: str, note: str = "") -> Markup:
    """A verdict with its sign; ``note`` is shown on hovering."""
    word = str(verdict)
    glyph = tag("span", GLYPHS.get(word, "·"), class_="glyph", aria_hidden="true")
    return tag("span", glyph, word, class_=f"chip {word.replace(' ', '-')}", title=note)


def words() -> Markup:
    """What each verdict means."""
    entries = [
        joined([tag("dt", chip(word)), tag("dd", meaning)]) for word, meaning in MEANINGS.items()
    ]
    return tag("dl", joined(entries), class_="words")


def counted(verdicts: Sequence[str]) -> Markup:
    """How often each verdict was given."""
    order = dict.fromkeys([*(word for word in GLYPHS if word in verdicts), *verdicts])
    return joined(
        [
            tag("span", bold(verdicts.count(word)), " ", chip(word), class_="count")
            for word in order
        ],
        " ",
    )


def effect(claim: Mapping[str, Any]) -> Markup:
    """An effect with its interval."""
    if claim.get("estimate") is None:
        return Markup("no estimate")
    return joined([bold(signed(claim["estimate"])), " ", soft(interval(claim), "ci")])


def interval(of: Mapping[str, Any], digits: int = 3) -> str:
    """``[low, high]``."""
    return f"[{signed(of.get('low'), digits)}, {signed(of.get('high'), digits)}]"


def limits_of(claims: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """A range for the small plots of one claim: zero, the margins and all intervals."""
    ends = [0.0]
    for claim in claims:
        margin = claim.get("margin") or 0.0
        numbers = [claim.get("low"), claim.get("high"), margin, -margin]
        ends += [float(value) for value in numbers if value is not None]
    ends = [end for end in ends if np.isfinite(end)]
    low, high = min(ends), max(ends)
    if low == high:
        return None
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def intervals(claims: Sequence[Mapping[str, Any]], limits: tuple[float, float] | None) -> Markup:
    """Effects with their intervals on the claim's scale, one line per attack, margin shaded."""
    if limits is None:
        return Markup("")
    width, pitch = 168.0, 11.0
    height = pitch * len(claims) + 3
    low, high = limits

    def x(value: float) -> float:
        return round(width * (value - low) / (high - low), 1)

    parts = []
    margin = claims[0].get("margin") if claims else None
    if margin:
        span = x(margin) - x(-margin)
        parts.append(f'<rect x="{x(-margin)}" width="{span:.1f}" height="{height:g}" class="m"/>')
    parts.append(f'<line x1="{x(0)}" x2="{x(0)}" y2="{height:g}" class="z"/>')
    for line, claim in enumerate(claims):
        y = 1.5 + pitch * (line + 0.5)
        if claim.get("low") is not None and claim.get("high") is not None:
            ends = f'x1="{x(claim["low"])}" x2="{x(claim["high"])}" y1="{y:g}" y2="{y:g}"'
            parts.append(f'<line {ends} class="i"/>')
        if claim.get("estimate") is not None:
            kind = _DOTS[schema.geometry(claim["attack"]).role]
            parts.append(f'<circle cx="{x(claim["estimate"])}" cy="{y:g}" r="3" class="{kind}"/>')
    drawing = "".join(parts)
    return Markup(  # numbers only: nothing to escape
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'aria-hidden="true" focusable="false">{drawing}</svg>'
    )
