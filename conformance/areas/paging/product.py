"""Every combination of rights, control bits and accesses, in every kind of paging, against a model of the page walk.

What the rows of permissions.py say one at a time is generated here as a product: the entry that maps the page absent, with
a reserved bit, or with any of U/S, R/W and NX; the entries above it open, or one of them any of these; under CR0.WP,
EFER.NXE, CR4.SMEP, CR4.SMAP, RFLAGS.AC and protection keys; read, written and fetched at CPL 0 and 3, and read by the
processor itself for a segment register.  ``spec/x86/walk.py`` computes what must come of each: success, or #PF with its
error code and CR2; the bytes read and written; accessed and dirty bits.  One guest makes thousands of accesses.

Left out because the manuals leave it open: which accessed bits a refused access has set, and whether the error code of
a user's access to a supervisor page tells of its key, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice, product
from typing import Any, NamedTuple

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.compare import mnemonic
from virtproof.conformance.features import physical_bits
from virtproof.conformance.guest import GuestStopped
from virtproof.guest_payloads.combination import AHEAD, BY_USER, NOTHING, STORED, Combination, Kind
from virtproof.guest_payloads.permissions import CONTENTS, FRAME, SETTINGS, initial, run, tables
from virtproof.results import Check
from virtproof.spec.cite import apm, sdm
from virtproof.spec.x86.exception import Vector
from virtproof.spec.x86.flags import Rflags
from virtproof.spec.x86.paging import PaePdpte, Pde4M
from virtproof.spec.x86.walk import (
    FIVE_LEVEL,
    FOUR_LEVEL,
    KEYS,
    PAE,
    PS,
    TWO_LEVEL,
    TWO_LEVEL_PSE,
    UNPAGED,
    Access,
    Control,
    Level,
    Page,
    Paging,
    after,
    walk,
)
from virtproof.vmm.engine import Engine

CITE = (
    sdm("3A", "Paging, 'Determination of Access Rights', 'Protection Keys' and 'Page-Fault Exceptions'"),
    apm(2, "Page Translation and Protection, 'Page-Protection Checks' and 'Page-Fault Exceptions'"),
)

P, W, U, ACCESSED, XD = 1, 2, 4, 1 << 5, 1 << 63
OPEN = P | W | U
SHOWN = 20  # combinations that differ
NAMES = {12: "PTE", 21: "PDE", 22: "PDE", 30: "PDPTE", 39: "PML4E", 48: "PML5E"}  # by the shift of the level

READ, WRITE, FETCH = Access(), Access(write=True), Access(fetch=True)
EXPLICIT = tuple(access._replace(user=user) for user in (False, True) for access in (READ, WRITE, FETCH))
IMPLICIT = tuple(Access(implicit=True, user=user) for user in (False, True))


class Try(NamedTuple):
    """One combination: the entries of the walk from the top down, what it is made under, and the access."""

    entries: tuple[int, ...]
    control: Control
    access: Access


# ---- entries


def _reserved(level: Level, maps: bool, narrow: bool) -> int:
    """A bit that is reserved at the level, or 0; ``narrow``: bit 51 is one, for physical addresses do not reach it."""
    if maps and level.page is Pde4M:
        return 1 << 21
    if maps and level.table is not None:
        return 1 << 13  # part of the offset in a large page
    if not maps and level.page is None:
        return PS
    return 1 << 51 if narrow else 0


def _kinds(paging: Paging, level: Level, maps: bool, physical: int) -> Iterator[int]:
    """The flags of every kind of entry at a level; the first one is open."""
    if level.table is PaePdpte:
        yield from (P, 0)
        return
    for us, rw, xd in product((U, 0), (W, 0), (0, XD) if paging.width == 8 else (0,)):
        yield P | us | rw | xd
    yield W | U
    bit = _reserved(level, maps, paging.width == 8 and physical < 52)
    if bit:
        yield OPEN | bit


def shapes(
    paging: Paging, physical: int, sizes: Iterable[int], *, all_above: bool, key: int = 0
) -> Iterator[tuple[int, ...]]:
    """The entries of walks that end at a level of ``sizes`` (its shift).

    At most one entry above the last is not open.  It is of any kind with ``all_above``, else a supervisor's.
    """
    inner = tables(paging, 0).tables[1:]
    for size in sizes:
        depth = next(n for n, level in enumerate(paging.levels) if level.shift == size)
        last = paging.levels[depth]
        page = (FRAME if last.table is None else PS) | key << KEYS
        opened = [
            at | (P if level.table is PaePdpte else OPEN)
            for at, level in zip(inner, paging.levels[:depth], strict=False)
        ]
        above = [tuple(opened)]
        for n, level in enumerate(paging.levels[:depth]):
            for flags in islice(_kinds(paging, level, False, physical), 1, None):
                if all_above or flags == P | W:
                    above.append((*opened[:n], inner[n] | flags, *opened[n + 1 :]))
        for upper, flags in product(above, _kinds(paging, last, True, physical)):
            yield (*upper, page | flags)


# ---- what is expected, and what was seen


def encoded(paging: Paging, one: Try) -> Combination:
    """The combination as the guest takes it."""
    start, control, access = initial(paging), one.control, one.access
    kind = (
        Kind.SEGMENT if access.implicit else Kind.WRITE if access.write else Kind.FETCH if access.fetch else Kind.READ
    )
    made = Combination(
        cr0=start.cr0.but(wp=control.wp),
        cr4=start.cr4.but(
            pse=paging is TWO_LEVEL_PSE, smep=control.smep, smap=control.smap, pke=control.pke, pks=control.pks
        ),
        efer=start.efer.but(nxe=control.nxe, lma=0),  # LMA is the processor's to set
        pkru=control.pkru,
        pkrs=control.pkrs,
        flags=2 | control.ac * Rflags.ac.mask,
        access=kind | access.user * BY_USER,
        vector=AHEAD,
    )
    for level, entry in enumerate(one.entries):
        made.entries[level] = entry
    return made


def differences(paging: Paging, places: tuple[int, ...], one: Try, seen: Combination) -> tuple[str, str] | None:
    """What the model expects and what was seen, where they differ."""
    linear = SETTINGS[paging].linear
    memory = dict(zip(places, one.entries, strict=False))
    result = walk(memory.__getitem__, places[0] & ~0xFFF if places else 0, linear, one.access, one.control, paging)
    mask = (1 << 8 * paging.width) - 1
    entries = [entry & mask for entry in seen.entries[: len(one.entries)]]
    want: list[tuple[str, int, int]]  # what, expected, seen
    if isinstance(result, Page):
        marked = {**memory, **after(result, one.access)}
        stored = CONTENTS & ~0xFFFF_FFFF | STORED if one.access.write else CONTENTS
        want = [("vector", NOTHING, seen.vector), ("memory", stored, seen.cell)]
        if seen.vector == NOTHING and one.access in (READ, READ._replace(user=True)):
            want.append(("value", CONTENTS & 0xFFFF_FFFF, seen.value & 0xFFFF_FFFF))
        kept = list(marked.values())
    else:
        want = [("vector", Vector.PF, seen.vector), ("memory", CONTENTS, seen.cell)]
        if seen.vector == Vector.PF:
            want += [("error code", result.error_code, seen.error_code), ("CR2", linear, seen.cr2)]
        kept, entries = list(one.entries), [n & ~(ACCESSED & ~old) for n, old in zip(entries, one.entries, strict=True)]
    names = [NAMES[level.shift] for level in paging.levels]
    want += zip(names, kept, entries, strict=False)
    wrong = [(what, expected, saw) for what, expected, saw in want if expected != saw]
    if not wrong:
        return None
    told = [(f"{what} {_shown(what, expected)}", f"{what} {_shown(what, saw)}") for what, expected, saw in wrong]
    return ", ".join(expected for expected, _ in told), ", ".join(saw for _, saw in told)


def _shown(what: str, value: int) -> str:
    if what == "vector":
        return "none" if value == NOTHING else mnemonic(value)
    return f"{value:#x}"


def described(paging: Paging, one: Try) -> str:
    """The combination in words, with the entries involved."""
    access, control = one.access, one.control
    verb = "implicit read" if access.implicit else "write" if access.write else "fetch" if access.fetch else "read"
    bits = [name.upper() for name in ("wp", "nxe", "smep", "smap", "ac", "pke", "pks") if getattr(control, name)]
    keys = [f"PKRU={control.pkru:#x}"] * control.pke + [f"PKRS={control.pkrs:#x}"] * control.pks
    entries = [f"{NAMES[level.shift]}={entry:#x}" for level, entry in zip(paging.levels, one.entries, strict=False)]
    return " ".join((f"{verb} at CPL {3 * access.user},", *entries, "with", *(bits or ["no bits"]), *keys))


# ---- groups of combinations


class Group(NamedTuple):
    """Combinations that need the same features of a processor; ``bits`` gives the values of each bit of ``Control``."""

    name: str
    title: str
    requires: tuple[str, ...]
    bits: Mapping[str, tuple[Any, ...]]
    accesses: tuple[Access, ...] = EXPLICIT
    all_above: bool = False
    key: int = 0


BOTH, ON, OFF = (False, True), (True,), (False,)
RIGHTS_OF_KEY_1 = (0, 0x4, 0x8, 0xC)  # none, AD, WD, both

# fmt: off
GROUPS = (
    Group("",              "rights at every level, WP and NXE",     (),               {},                                                  all_above=True),
    Group(".smep",         "SMEP and AC",                               ("smep",),        {"smep": ON, "ac": BOTH}),
    Group(".smap",         "SMAP, SMEP and AC",                         ("smep", "smap"), {"smap": ON, "smep": BOTH, "ac": BOTH}),
    Group(".implicit",     "the processor's own reads",                  (),               {},                                  IMPLICIT),
    Group(".implicit_smap", "its own reads with SMAP",                   ("smap",),        {"smap": ON},                        IMPLICIT),
    Group(".implicit_ac",  "its own reads with SMAP and AC",       ("smap",),        {"smap": ON, "ac": ON},              IMPLICIT),
)
KEY_GROUPS = (
    Group(".pku",          "protection keys of user pages",          ("pku",),         {"pke": ON, "pkru": RIGHTS_OF_KEY_1}, (*EXPLICIT, *IMPLICIT), key=1),
    Group(".pks",          "protection keys of supervisor pages", ("pks",),         {"pks": ON, "pkrs": RIGHTS_OF_KEY_1}, (*EXPLICIT[:3], *IMPLICIT), key=1),
)
# fmt: on


class Kinds(NamedTuple):
    """What a kind of paging is tried with: the case's id without its group, features, sizes of pages as shifts."""

    id: str
    paging: Paging
    requires: tuple[str, ...]
    sizes: tuple[int, ...]
    groups: tuple[Group, ...] = GROUPS


# fmt: off
KINDS = (
    Kinds("pg.misc.unpaged_product", UNPAGED,       (),             (),       GROUPS[:4]),
    Kinds("pg.p32.product",          TWO_LEVEL,     ("pse",),       (12,)),
    Kinds("pg.p32.product_pse",      TWO_LEVEL_PSE, ("pse",),       (12, 22)),
    Kinds("pg.pae.product",          PAE,           ("pae", "nx"),  (12, 21)),
    Kinds("pg.l4.product",           FOUR_LEVEL,    ("nx",),        (12, 21), (*GROUPS, *KEY_GROUPS)),
    Kinds("pg.l4.product_1g",        FOUR_LEVEL,    ("nx", "page1gb"), (30,), (*GROUPS[:3], *KEY_GROUPS)),
    Kinds("pg.misc.la57_product",    FIVE_LEVEL,    ("nx", "la57"), (12, 21), (*GROUPS[:3], *KEY_GROUPS)),
)
# fmt: on


REFS = {  # rules that a product has among its combinations, by the id of its case
    "pg.l4.product.pku": ("pg.pk.both",),
    "pg.l4.product.pks": ("pg.pk.pks_ad", "pg.pk.pks_wd", "pg.pk.pks_wd_wp0", "pg.pk.pks_user"),
    "pg.misc.la57_product": (
        "pg.misc.la57_enter",
        "pg.misc.la57_pml5_np",
        "pg.misc.la57_pml5_rsvd",
        "pg.misc.la57_pml5_perm",
    ),
}


def tries(kinds: Kinds, group: Group, physical: int) -> list[Try]:
    """All combinations; control bits, whose change costs most, change least often."""
    paging = kinds.paging
    bits = {"wp": BOTH, "nxe": BOTH if paging.width == 8 else OFF, **group.bits}
    walks = list(shapes(paging, physical, kinds.sizes, all_above=group.all_above, key=group.key)) or [()]
    return [
        Try(entries, Control(physical_bits=physical)._replace(**dict(zip(bits, values, strict=True))), access)
        for values in product(*bits.values())
        for entries in walks
        for access in group.accesses
    ]


def _script(kinds: Kinds, group: Group, engine: Engine) -> Iterator[Check]:
    paging, all_tries = kinds.paging, tries(kinds, group, physical_bits(engine))
    made = [encoded(paging, one) for one in all_tries]
    ran = run(engine, paging, made, seconds=SECONDS, segments=any(one.access.implicit for one in all_tries))
    if not ran.done:
        how = str(ran.end) if ran.fault is None else f"{mnemonic(ran.fault)} that nobody expected"
        reached = next((n for n, seen in enumerate(ran.combinations) if seen.vector == AHEAD), len(made) - 1)
        raise GuestStopped(f"{how}, in combination {reached} of {len(made)}: {described(paging, all_tries[reached])}")
    yield from judged(paging, all_tries, ran.combinations)


def judged(paging: Paging, all_tries: list[Try], seen: Iterable[Combination]) -> Iterator[Check]:
    """One check of the number, and one for each of the first combinations that differ."""
    places = tables(paging, 0).places
    pairs = ((one, differences(paging, places, one, saw)) for one, saw in zip(all_tries, seen, strict=True))
    wrong = [(one, differ) for one, differ in pairs if differ is not None]
    yield Check(f"of {len(all_tries)} combinations differ", "0", str(len(wrong)), not wrong)
    for one, (expected, saw) in wrong[:SHOWN]:
        yield Check(described(paging, one), expected, saw, False)


SECONDS = 30.0


def _case(kinds: Kinds, group: Group) -> HostScript:
    return HostScript(
        id=kinds.id + group.name,
        title=f"{kinds.paging.name}: {group.title}: every combination comes out as a model of the walk says",
        area="paging",
        mode=SETTINGS[kinds.paging].mode,
        cite=CITE,
        script=partial(_script, kinds, group),
        refs=REFS.get(kinds.id + group.name, ()),
        requires=(*kinds.requires, *group.requires),
        seconds=SECONDS,
    )


CASES: tuple[Case, ...] = tuple(_case(kinds, group) for kinds in KINDS for group in kinds.groups)
