"""Which cases, which profile: words from the command line, checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from virtproof.cli.nearest import did_you_mean

if TYPE_CHECKING:
    from virtproof.conformance.case import Case

Command = TypeVar("Command", bound=Callable[..., object])


def case_options(command: Command) -> Command:
    """Add the arguments that ``select`` understands."""
    command = click.option(
        "--area", "areas", multiple=True, metavar="AREA", help="Only cases of this area; repeatable."
    )(command)
    return click.argument("ids", nargs=-1, metavar="[IDS]...")(command)


def select(ids: Sequence[str], areas: Sequence[str]) -> tuple[Case, ...]:
    """Return the named cases in the catalogue's order, all of them where nothing is named.

    An id names one case, or everything below it: ``trap.ud`` is ``trap.ud.ud2.long64`` and its neighbours.
    Raises ``click.UsageError`` with the nearest names for an id or area that does not exist.
    """
    from virtproof.conformance.catalogue import all_cases

    cases = all_cases()
    known_areas = sorted({case.area for case in cases})
    for area in areas:
        if area not in known_areas:
            near = did_you_mean(area, known_areas) or f"; the areas are {', '.join(known_areas)}"
            raise click.UsageError(f"no area {area!r}{near}")
    for wanted in ids:
        if not any(_names(wanted, case.id) for case in cases):
            near = did_you_mean(wanted, (case.id for case in cases)) or "; virtproof cases lists them"
            raise click.UsageError(f"no case {wanted!r}{near}")
    chosen = tuple(
        case
        for case in cases
        if (not areas or case.area in areas) and (not ids or any(_names(wanted, case.id) for wanted in ids))
    )
    if not chosen:
        raise click.UsageError(f"none of the cases named is in the area {' or '.join(areas)}")
    return chosen


def _names(wanted: str, case_id: str) -> bool:
    return case_id == wanted or case_id.startswith(f"{wanted}.")
