"""Pictures of every view of the offline pages, at three widths, light and dark, and of the printed sheets.

Usage: ``python experiments/looking/screenshots.py [folder]``. The folder (default: ``looked_at``) gets the
examples, the pages and ``pictures/``; what is there already is not trained again. ``kept/`` beside this file
gets those of ``KEPT``, in few colors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trained
from PIL import Image

from views import PAGES, Page

WIDTHS = {390: 844, 1280: 800, 2560: 1440}
"""Heights of the window by its width."""
SCHEMES = ("light", "dark")
KEPT = (
    *("compare-table-1280-light", "compare-curves-1280-dark", "compare-small_multiples-1280-light"),
    *("compare-groups-1280-light", "compare-sweeps-1280-dark", "compare-two_classifiers-1280-light"),
    *("compare-groups_of_all_tasks-1280-light", "compare-table-390-dark", "compare-sweeps-390-light"),
    *("compare-curves-2560-light", "compare-table_wrong_filter-390-light", "compare-two_runs-1280-dark"),
    *("inspect_text-gates-1280-light", "inspect_text-follow-1280-light", "inspect_text-clamps-1280-dark"),
    *("inspect_two_models-cut-1280-dark", "inspect_two_models-gates-390-light"),
    *("inspect_two_models-gradient-1280-light", "inspect_series-predictions-2560-light"),
)
"""Pictures that the repository has."""
TALLEST = 6000
"""Pixels of a page that a picture shows."""


def main(folder: Path) -> None:
    """Make the examples and pages that are missing, and all pictures anew."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from browser import browser

    examples = folder / "examples"
    trained.train(examples)
    (folder / "pictures").mkdir(exist_ok=True)
    with browser() as running:
        for name, page in PAGES.items():
            file = folder / f"{name}.html"
            command = [sys.executable, "-m", "gatewise", *_words(page, examples), f"output={file.resolve()}"]
            subprocess.run(command, cwd=examples, check=True, stdout=subprocess.DEVNULL)
            for view, state in page.views.items():
                print(f"{name}: {view}", flush=True)
                for label, tab in _opened(running, file, state):
                    target = folder / "pictures" / f"{name}-{view}-{label}"
                    if label == "printed":
                        tab.pdf(path=f"{target}.pdf", prefer_css_page_size=True, print_background=True)
                    else:
                        tab.screenshot(path=f"{target}.png", full_page=True, clip=_clip(tab))
    _keep(folder / "pictures")


def _words(page: Page, examples: Path) -> Iterator[str]:
    """The words of a page's command, with the runs that its patterns mean."""
    first = ""
    for word in page.words:
        setting, _, pattern = word.partition("=")
        if setting in ("run", "run2") and "*" in pattern:
            runs = sorted(folder for folder in examples.glob(pattern) if (folder / "checkpoints").is_dir())
            chosen = str((runs[0] if setting == "run" else runs[-1]).relative_to(examples))
            first = first or chosen
            yield f"{setting}={chosen}"
        else:
            yield word.replace("{run}", first)


def _keep(pictures: Path) -> None:
    kept = Path(__file__).parent / "kept"
    kept.mkdir(exist_ok=True)
    for name in KEPT:
        # A page has few colors: 256 of them take half of the room, and the rare ones are to be kept as well.
        picture = Image.open(pictures / f"{name}.png").convert("RGB")
        picture = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        picture.save(kept / f"{name}.png", optimize=True)


def _opened(running: Any, file: Path, state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The page in every window, and once more to be printed from a dark screen."""
    for width, height in WIDTHS.items():
        for scheme in SCHEMES:
            window = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
            with running.new_context(**window) as context:
                tab = context.new_page()
                tab.goto(file.resolve().as_uri() + (f"#{quote(json.dumps(state))}" if state else ""))
                tab.wait_for_selector("html[data-ready=yes]")
                tab.wait_for_timeout(100)
                yield f"{width}-{scheme}", tab
                if (width, scheme) == (1280, "dark"):
                    yield "printed", tab


def _clip(tab: Any) -> dict[str, float]:
    size = tab.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    return {"x": 0, "y": 0, "width": size[0], "height": min(size[1], TALLEST)}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "looked_at"))
