"""What is behind the cases of the HTML report, compressed into the page: its script shows it when a case is opened.

As markup, expected and observed values of 5,000 cases would be 10 MB; so they are some 600 KB, and nothing is left out.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence

from virtproof.results import CaseResult

LIMIT = 1_000_000  # characters of Base64 in a page
BUDGETS = (24 << 20, 4 << 20, 1 << 20, 0)  # characters before compression; the first that keeps to LIMIT is taken
CASE_LIMIT = 256 << 10  # characters of one case

Detail = dict[str, object]


def pack(cases: Sequence[CaseResult], references: Mapping[str, int]) -> str:
    """The details of ``cases``, in their order, as Base64 of gzip of JSON.

    Each is an object: ``r`` reason, ``c`` numbers of cited rules, ``k`` checks as [field, expected, observed or null
    where it is the same text, ok], ``e`` evidence, ``m`` true where checks and evidence had no room.
    """
    details = [_detail(case, references) for case in cases]
    sizes = [len(json.dumps(detail)) for detail in details]
    for budget in BUDGETS:
        packed = _pack(_within(details, sizes, budget))
        if len(packed) <= LIMIT:
            break
    return packed


def _detail(case: CaseResult, references: Mapping[str, int]) -> Detail:
    checks = [[c.field, c.expected, None if c.observed == c.expected else c.observed, c.ok] for c in case.checks]
    whole = {
        "r": case.reason,
        "c": [references[cite] for cite in case.cite],
        "k": checks,
        "e": "\n".join(case.evidence),
    }
    return {key: value for key, value in whole.items() if value}


def _within(details: Sequence[Detail], sizes: Sequence[int], budget: int) -> list[Detail]:
    kept = []
    for detail, size in zip(details, sizes, strict=True):
        if size <= min(budget, CASE_LIMIT):
            budget -= size
            kept.append(detail)
        else:
            kept.append({**{key: detail[key] for key in ("r", "c") if key in detail}, "m": True})
    return kept


def _pack(details: Sequence[Detail]) -> str:
    text = json.dumps(details, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")
