"""The dirty log: the pages of a slot that the guest has written since it was last read, exact to the page.

Reads and fetches do not count, nor do writes by the host.  Reading the log clears it, and the next write to a page is
logged again.  However many pages are written, none is lost: not where a processor's own buffer of 512 entries (page
modification logging) runs full, and not where emulation wrote in the guest's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from virtproof.conformance.case import Case, HostScript, Insn, Row, completes, family
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.guest_payloads.trampoline import Mode
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.vmm.engine import Engine
from virtproof.vmm.machine import Machine
from virtproof.vmm.memory import Slot

CITE = (linux("virt/kvm/api.rst", "KVM_GET_DIRTY_LOG"),)
row = family("second_level", *CITE)

LONG64 = Mode.LONG64
PAGE = 0x1000
PAGES = 6000
AT, HOLE = 0x3000_0000, 0x2000_0000  # by the trampoline's own map, which is one to one

Pages = frozenset[int]
NONE: Pages = frozenset()


def _slot(machine: Machine) -> Slot:
    return next(slot for slot in machine.memory.slots if slot.gpa == AT)


def _logged(machine: Machine) -> None:
    machine.memory.add(AT, PAGES * PAGE, log_dirty=True)


def _unlogged(machine: Machine) -> None:
    machine.memory.add(AT, PAGES * PAGE)


def _set_log(machine: Machine, on: bool) -> None:
    slot = _slot(machine)
    machine.vm.set_slot(slot.number, AT, slot.memory, log_dirty=on)


def _host_writes(machine: Machine) -> None:
    machine.memory.load(AT + 7 * PAGE, b"\x01")


def _read_log(machine: Machine) -> Pages:
    bitmap = int.from_bytes(machine.vm.dirty_log(_slot(machine).number), "little")
    return frozenset(n for n in range(bitmap.bit_length()) if bitmap >> n & 1)


READ_LOG, LOG_ON, LOG_OFF, HOST_WRITES = 1, 2, 3, 4  # what the guest asks for


def _script(guest: Row, furnish: Callable[[Machine], None], logs: tuple[Pages, ...], engine: Engine) -> Iterable[Check]:
    seen: list[Pages] = []
    calls: Mapping[int, Callable[[Machine], None]] = {
        READ_LOG: lambda machine: seen.append(_read_log(machine)),
        LOG_ON: partial(_set_log, on=True),
        LOG_OFF: partial(_set_log, on=False),
        HOST_WRITES: _host_writes,
    }
    yield from check(guest, engine, furnish=furnish, calls=calls)
    for n, want in enumerate(logs):
        saw = seen[n] if n < len(seen) else NONE
        yield Check(f"dirty pages, log {n + 1}", _show(want), _show(saw), want == saw and len(seen) == len(logs))


def _show(pages: Pages) -> str:
    few = sorted(pages)[:8]
    return f"{len(pages)}: {' '.join(map(str, few))}{' ...' * (len(few) < len(pages))}" if pages else "none"


def logs(
    id: str,  # noqa: A002
    title: str,
    code: tuple[Insn, ...],
    *want: Pages,
    furnish: Callable[[Machine], None] = _logged,
    priority: int = 1,
    **regs: int,
) -> Case:
    """A case whose guest reads the log, each time with the given content."""
    regs = {"rax": READ_LOG, "rdx": HOST_PORT, "rbx": AT, **regs}
    guest = row(id, title, LONG64, code, completes(keeps=False), regs=regs, seconds=10.0)
    script = partial(_script, guest, furnish, want)
    return HostScript(
        id=id, title=title, area="second_level", mode=LONG64, cite=CITE, script=script, priority=priority, seconds=10.0
    )


# fmt: off
LOG = (Insn("b0 01", "mov al, 1"), Insn("ee", "out dx, al"))
ON  = (Insn("b0 02", "mov al, 2"), Insn("ee", "out dx, al"))
OFF = (Insn("b0 03", "mov al, 3"), Insn("ee", "out dx, al"))
HOST = (Insn("b0 04", "mov al, 4"), Insn("ee", "out dx, al"))
STORE_RBX, STORE_RSI, STORE_RDI = Insn("88 03", "mov byte ptr [rbx], al"), Insn("88 06", "mov byte ptr [rsi], al"), Insn("88 07", "mov byte ptr [rdi], al")
STORE_OVER_END = Insn("48 89 06", "mov qword ptr [rsi], rax")
LOCK_INC   = Insn("f0 ff 03", "lock inc dword ptr [rbx]")
LOAD       = Insn("48 8b 2b", "mov rbp, qword ptr [rbx]")
MOVSB      = Insn("a4", "movsb byte ptr [rdi], byte ptr [rsi]")
WRITE_ALL  = (Insn("88 03", "mov byte ptr [rbx], al"),          Insn("48 01 fb", "add rbx, rdi"), Insn("ff c9", "dec ecx"), Insn("75 f7", "jne 0"))
READ_ALL   = (Insn("48 8b 2b", "mov rbp, qword ptr [rbx]"), Insn("48 01 fb", "add rbx, rdi"), Insn("ff c9", "dec ecx"), Insn("75 f6", "jne 0"))

def page(n: int, offset: int = 0) -> int: return AT + n * PAGE + offset

CASES: tuple[Case, ...] = (
    logs("slat.dirty_exact", "The log names the written pages and no others", (STORE_RBX, STORE_OVER_END, STORE_RDI, *LOG), frozenset({3, 5, 6, 64}),
         rbx=page(3), rsi=page(5, 0xFFE), rdi=page(64, 0xFFF)),
    logs("slat.dirty_clear", "Reading the log clears it; the next write to the page is logged again", (STORE_RBX, *LOG, *LOG, STORE_RBX, *LOG),
         frozenset({3}), NONE, frozenset({3}), rbx=page(3)),
    logs("slat.dirty_read",  "Reads are not logged", (*READ_ALL, *LOG), NONE, rcx=PAGES, rdi=PAGE),
    logs("slat.dirty_pml",   "Of 5000 written pages none is lost", (*WRITE_ALL, *LOG), frozenset(range(5000)), rcx=5000, rdi=PAGE),
    logs("slat.dirty_wrap_last", "The first and the last page of the slot have the first and the last bit", (STORE_RBX, STORE_RSI, *LOG),
         frozenset({0, PAGES - 1}), rbx=page(0), rsi=page(PAGES - 1, 0xFFF), priority=2),
    logs("slat.dirty_rmw",   "A locked read-modify-write is logged", (LOCK_INC, *LOG), frozenset({3}), rbx=page(3), priority=2),
    logs("slat.dirty_emul",  "A write by an emulated instruction is logged", (MOVSB, *LOG), frozenset({3}), rsi=HOLE, rdi=page(3), priority=2),
    logs("slat.dirty_host",  "A write by the host is not logged", (STORE_RBX, *HOST, *LOG), frozenset({3}), rbx=page(3), priority=2),
    logs("slat.dirty_toggle", "The log is empty when it is switched on, and again after off and on", (STORE_RBX, *ON, STORE_RSI, *LOG, STORE_RDI, *OFF, *ON, *LOG),
         frozenset({5}), NONE, rbx=page(3), rsi=page(5), rdi=page(64), furnish=_unlogged, priority=2),
)
# fmt: on
