"""The lists of the user guide and of the page on kernels are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

from virtproof.cli.app import COMMANDS
from virtproof.cli.guest import FORMATS as KERNELS
from virtproof.reports.formats import FORMATS as REPORTS
from virtproof.results_manifest import MANIFEST

DOCS = Path(__file__).parents[2] / "docs"


def first_cells(page: str, heading: str) -> list[str]:
    """The first cell of each row of the first table below a heading, without the head."""
    section = (DOCS / page).read_text().split(f"\n## {heading}\n")[1]
    rows = section[section.index("\n|") :].strip().split("\n\n")[0].splitlines()
    return [row.split("|")[1].strip() for row in rows[2:]]


def test_every_command_is_in_the_guide_and_no_other() -> None:
    named = [re.findall(r"`(?:virtproof )?([a-z]+)", cell) for cell in first_cells("user-guide.md", "Commands")]
    assert sorted(names[0] for names in named) == sorted(COMMANDS)


def test_the_report_folder_has_the_files_that_the_guide_names() -> None:
    made = ["run.json", "evidence.json.gz", *(one.file for one in REPORTS if one.file), MANIFEST]
    assert first_cells("user-guide.md", "The report folder") == made


def test_every_format_of_a_kernel_is_in_the_table() -> None:
    assert sorted(first_cells("kernels.md", "Formats")) == sorted({*KERNELS} - {"auto"})
