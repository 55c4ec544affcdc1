"""Pages with plots: one file each, which needs nothing but itself."""

from __future__ import annotations

import html
import os

HEIGHT = 760
"""Height of a page in a notebook, pixels."""


class Page:
    """A page of HTML. A notebook shows it in a frame, with all of its plots, some megabytes."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"<Page: {len(self.text)} characters>"

    def _repr_html_(self) -> str:
        frame = f'style="width:100%;height:{HEIGHT}px;border:0"'
        return f'<iframe srcdoc="{html.escape(self.text)}" {frame}></iframe>'


def page(text: str, path: str | os.PathLike[str] | None) -> Page:
    """The page, written to a file if there is a path."""
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return Page(text)
