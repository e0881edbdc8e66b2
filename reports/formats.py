"""The formats of reports: one row each, from which options, file names and documentation follow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from virtproof.results import Evidence, Run


@dataclass(frozen=True, slots=True)
class Format:
    """One format; its module is imported when it is rendered."""

    name: str  # of the option, and of the module in this package
    for_whom: str
    file: str = ""  # in the folder of a run; empty where it is written on request only

    def render(self, run: Run, evidence: Evidence | None) -> bytes:
        """The document, as a file holds it."""
        module = import_module(f"virtproof.reports.{self.name}")
        render: Callable[[Run, Evidence | None], str] = getattr(module, f"render_{self.name}")
        return render(run, evidence).encode()


# fmt: off
FORMATS = (
    Format("html",       "one page for people: who must mend the host, and who must sign", "report.html"),
    Format("junit",      "JUnit XML for CI systems", "junit.xml"),
    Format("sarif",      "SARIF 2.1.0 for code-scanning services"),
    Format("csv",        "one table for spreadsheets and databases"),
    Format("markdown",   "a summary for the page of a CI job"),
    Format("prometheus", "a text file for node_exporter's textfile collector"),
    Format("nfd",        "a feature file for Kubernetes Node Feature Discovery"),
)
# fmt: on
