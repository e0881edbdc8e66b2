"""Take the pictures of docs/ anew, with Chromium, pdftoppm (poppler-utils) and pngquant.

virtproof check --bench --out /tmp/run
python benchmarks/fleet.py --keep /tmp/fleet
python docs/images/take.py /tmp/run/report.html /tmp/fleet/fleet.html
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser import Browser

HERE = Path(__file__).parent
WIDE = {"width": 1200, "height": 1000}
VIEWS = (  # picture, which page, the place in it, how it is looked at
    ("report", "report", "", WIDE),
    ("report-claims-dark", "report", "#claims", {**WIDE, "dark": True}),
    ("report-narrow", "report", "", {"width": 400, "height": 1000}),
    ("fleet", "fleet", "", {**WIDE, "height": 900}),
    ("fleet-hosts-dark", "fleet", "#hosts?verdict=not+compliant", {**WIDE, "height": 800, "dark": True}),
)


def compressed(png: bytes) -> bytes:
    """The same picture in 64 colours: these have few."""
    return subprocess.run(["pngquant", "64", "-"], input=png, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    pages = {"report": Path(sys.argv[1]).absolute(), "fleet": Path(sys.argv[2]).absolute()}
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        for name, which, place, how in VIEWS:
            with browser.page(pages[which].as_uri() + place, **how) as page:
                (HERE / f"{name}.png").write_bytes(compressed(page.picture()))
        with browser.page(pages["report"].as_uri()) as page:
            paper = Path(folder) / "report.pdf"
            paper.write_bytes(page.paper())
            script = ["pdftoppm", "-png", "-r", "60", "-l", "1", "-singlefile", str(paper)]
            png = subprocess.run(script, stdout=subprocess.PIPE, check=True).stdout
            (HERE / "report-print.png").write_bytes(compressed(png))


if __name__ == "__main__":
    main()
