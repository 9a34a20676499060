"""Draw the pictures of docs/plots.md: run its code, and keep each figure.

Run it in the root of the repository: python docs/make_plots.py. It runs the study of the page
first, unless that is done.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from dynamoe_search import Study

PAGE = Path(__file__).with_name("plots.md")
FOLDER = Path(__file__).with_name("plots")
_DOTS_AN_INCH, _COLORS = 80, 96


def figures(code: str) -> Iterator[tuple[str, Figure]]:
    """Run each block of the page, and give each figure with the name of its function."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", code, re.MULTILINE | re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), names)
        if drawn := re.search(r"figure = plots\.(plot_\w+)\(", block):
            yield drawn[1], names["figure"]


def main() -> None:
    """Run the study, and draw."""
    Study(FOLDER).run()
    for name, figure in figures(PAGE.read_text(encoding="utf-8")):
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=_DOTS_AN_INCH)
        path = FOLDER / f"{name}.png"
        # A third of the size, and no difference that can be seen.
        Image.open(drawn).convert("RGB").quantize(_COLORS).save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
