"""Tables of benchmarks in the documents, between ``<!-- benchmarks/NAME -->`` and ``<!-- end -->``."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["put"]


def put(page: Path, name: str, table: str) -> None:
    """Replace what `page` shows of benchmark `name`.

    Raises
    ------
    ValueError
        If the page has no such place.
    """
    text = page.read_text(encoding="utf-8")
    pattern = rf"(<!-- benchmarks/{re.escape(name)} -->\n).*?(<!-- end -->)"
    replaced, count = re.subn(pattern, lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{page} has {count} places marked <!-- benchmarks/{name} -->: it must have one")
    page.write_text(replaced, encoding="utf-8")
