"""HTML in which nothing but markup of ours can be markup: every other text is escaped where it is put in."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slowfast.utils.logging import finite

_VOID = ("img", "input", "link", "meta")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_IN_SCRIPT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


class Markup(str):
    """Text that is HTML already."""


def escaped(value: Any) -> Markup:
    """Any value as text of a page or of an attribute; markup stays as it is.

    Bytes of a path that are not UTF-8 are shown as \\udcXX, and control characters as a replacement character.
    """
    if isinstance(value, Markup):
        return value
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return Markup(html.escape(_CONTROLS.sub("\ufffd", text), quote=True))


def element(tag: str, *children: Any, **attributes: Any) -> Markup:
    """<tag attributes>children</tag>. Names of attributes lose a last underscore, and others become dashes; one that
    is None or False is left out, and True stands without a value."""
    words = [tag]
    for name, value in attributes.items():
        name = name.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(name)
        elif value is not None and value is not False:
            words.append(f'{name}="{escaped(value)}"')
    opening = f"<{' '.join(words)}>"
    return Markup(opening if tag in _VOID else f"{opening}{join(children)}</{tag}>")


def join(children: Iterable[Any], between: str = "") -> Markup:
    """All one after another; None is left out."""
    return Markup(between.join(escaped(child) for child in children if child is not None))


def table(
    header: Sequence[Any],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    sortable: bool = False,
    **attributes: Any,
) -> Markup:
    """A table in a box that scrolls sideways. Columns of numbers, as their first cells show, stand to the right.

    A cell may be (what is shown, the number that it is): see `number`.
    """
    rows = [[cell if isinstance(cell, tuple) else (cell, cell) for cell in row] for row in rows]
    kinds = ["number" if _is_number(key) else None for _, key in rows[0]] if rows else [None] * len(header)
    head = [
        element("th", element("button", name, type="button") if sortable else name, scope="col", class_=kind)
        for name, kind in zip(header, kinds, strict=True)
    ]
    body = [
        element("tr", *(_cell(*cell, kind, sortable) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    ]
    whole = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
        class_="sortable" if sortable else None,
        **attributes,
    )
    return element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def number(value: float, form: str) -> tuple[str, float]:
    """A cell that shows a number in a format such as "{:.2f} %"; NaN is a dash, which sorts below all others."""
    return ("-", -math.inf) if math.isnan(value) else (form.format(value), round(float(value), 6))


def _is_number(key: Any) -> bool:
    return isinstance(key, int | float) and not isinstance(key, bool)


def _cell(shown: Any, key: Any, kind: str | None, sortable: bool) -> Markup:
    return element("td", shown, class_=kind, data_key=key if sortable and shown is not key else None)


def section(ident: str, title: str, *body: Any) -> Markup:
    """A part of a page with a heading that can be linked to."""
    return element("section", element("h2", title), *body, id=ident)


def details(summary: str, *body: Any) -> Markup:
    """What is shown when it is asked for, and printed."""
    return element("details", element("summary", summary), *body)


def json_block(ident: str, value: Any) -> Markup:
    """Data for the script of a page; no text in it can end the block, and NaN becomes null."""
    text = json.dumps(finite(value), separators=(",", ":"), allow_nan=False).translate(_IN_SCRIPT)
    return element("script", Markup(text), type="application/json", id=ident)


def document(title: str, body: Markup, data: Any) -> bytes:
    """A page that needs no other file and, by its own policy, may ask for none; ``data`` is for its script."""
    here = Path(__file__).parent
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup(style)),
    ]
    page = element(
        "html",
        element("head", *head),
        element("body", body, json_block("data", data), element("script", Markup(script))),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n".encode()
