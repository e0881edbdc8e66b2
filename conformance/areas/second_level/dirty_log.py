"""The dirty log: the pages of a slot that the guest has written since it was last read, exact to the page.

Reads and fetches do not count, nor do writes by the host; but a page that is read for the first time may count, because KVM
may map it writable at once.  Reading the log clears it, and the next write to a page is
logged again.  However many pages are written, none is lost: not where a processor's own buffer of 512 entries (page
modification logging) runs full, and not where emulation wrote in the guest's place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from virtproof.conformance.case import Case, HostScript, Insn, Row, Set, completes, family, mem64
from virtproof.conformance.guest import HOST_PORT, check
from virtproof.conformance.of_kvm import kvm_vm
from virtproof.conformance.window import WINDOW, caught_by, maps, pde, table
from virtproof.conformance.window import page as window_page
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
NOTHING: Mapping[str, int] = {}


def _slot(machine: Machine) -> Slot:
    return next(slot for slot in machine.memory.slots if slot.gpa == AT)


def _logged(machine: Machine) -> None:
    machine.memory.add(AT, PAGES * PAGE, log_dirty=True)


def _unlogged(machine: Machine) -> None:
    machine.memory.add(AT, PAGES * PAGE)


def _code(machine: Machine) -> None:
    _unlogged(machine)
    machine.memory.load(AT + 3 * PAGE, b"\xc3")  # ret


def _set_log(machine: Machine, on: bool) -> None:
    slot = _slot(machine)
    machine.vm.set_slot(slot.number, AT, slot.memory, log_dirty=on)


def _host_writes(machine: Machine) -> None:
    machine.memory.load(AT + 7 * PAGE, b"\x01")


def _tables(machine: Machine, n: int = 8) -> None:
    """A page table in the slot's page ``n``, which maps the page behind it."""
    _logged(machine)
    machine.memory.load(AT + n * PAGE, (AT + (n + 1) * PAGE + 0x03).to_bytes(8, "little"))


def _by_hand(machine: Machine) -> None:
    kvm_vm(machine).protect_dirty_pages_by_hand()
    _logged(machine)


def _clear_64(machine: Machine) -> None:
    kvm_vm(machine).clear_dirty_log(_slot(machine).number, b"\xff" * 8)


def _read_log(machine: Machine) -> Pages:
    bitmap = int.from_bytes(machine.vm.dirty_log(_slot(machine).number), "little")
    return frozenset(n for n in range(bitmap.bit_length()) if bitmap >> n & 1)


READ_LOG, LOG_ON, LOG_OFF, HOST_WRITES, CLEAR_64 = 1, 2, 3, 4, 5  # what the guest asks for


def _script(guest: Row, furnish: Callable[[Machine], None], logs: tuple[Pages, ...], engine: Engine) -> Iterable[Check]:
    seen: list[Pages] = []
    calls: Mapping[int, Callable[[Machine], None]] = {
        READ_LOG: lambda machine: seen.append(_read_log(machine)),
        LOG_ON: partial(_set_log, on=True),
        LOG_OFF: partial(_set_log, on=False),
        HOST_WRITES: _host_writes,
        CLEAR_64: _clear_64,
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
    sets: tuple[Set, ...] = (),
    ends: Mapping[str, int] = NOTHING,
    refs: tuple[str, ...] = (),
    **regs: int,
) -> Case:
    """A case whose guest reads the log, each time with the given content."""
    regs = {"rax": READ_LOG, "rdx": HOST_PORT, "rbx": AT, **regs}
    guest = row(id, title, LONG64, code, completes(keeps=False, regs=ends), regs=regs, sets=sets, seconds=10.0)
    script = partial(_script, guest, furnish, want)
    return HostScript(
        id=id,
        title=title,
        area="second_level",
        mode=LONG64,
        cite=CITE,
        script=script,
        priority=priority,
        refs=refs,
        seconds=10.0,
    )


# fmt: off
LOG = (Insn("b0 01", "mov al, 1"), Insn("ee", "out dx, al"))
ON  = (Insn("b0 02", "mov al, 2"), Insn("ee", "out dx, al"))
OFF = (Insn("b0 03", "mov al, 3"), Insn("ee", "out dx, al"))
HOST = (Insn("b0 04", "mov al, 4"), Insn("ee", "out dx, al"))
STORE_RBX, STORE_RSI, STORE_RDI = Insn("88 03", "mov byte ptr [rbx], al"), Insn("88 06", "mov byte ptr [rsi], al"), Insn("88 07", "mov byte ptr [rdi], al")
STORE_OVER_END = Insn("48 89 06", "mov qword ptr [rsi], rax")
READ, WRITE = Insn("48 8b 2e", "mov rbp, qword ptr [rsi]"), Insn("88 0e", "mov byte ptr [rsi], cl")
READ_PTE   = Insn("4c 8b 07", "mov r8, qword ptr [rdi]")
CALL       = Insn("ff d3", "call rbx")
CLEAR      = (Insn("b0 05", "mov al, 5"), Insn("ee", "out dx, al"))
SKIP       = (  # a #PF handler that goes on behind the instruction, which has 2 bytes
    Insn("eb 0b",          "jmp 0xd"),
    Insn("48 83 c4 08",    "add rsp, 8"),
    Insn("48 83 04 24 02", "add qword ptr [rsp], 2"),
    Insn("48 cf",          "iretq"),
)
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
    logs("slat.dirty_fetch", "Fetches are not logged", (CALL, *ON, CALL, *LOG, STORE_RBX, *LOG), NONE, frozenset({3}), furnish=_code, rbx=page(3), priority=2),
    logs("slat.dirty_pt",    "What the processor marks in a page table is logged", (READ, *LOG, WRITE, *LOG, READ_PTE), frozenset({8}), frozenset({8, 9}),
         furnish=_tables, sets=(mem64(pde(), table(page(8))),), ends={"r8": page(9, 0x63)}, refs=("pg.ad.ept_ad_indep",), rsi=WINDOW, rdi=page(8), priority=2),
    logs("slat.dirty_fail",  "A store that faults is not logged", (*SKIP, STORE_RSI, STORE_RBX, *LOG), frozenset({5}),
         sets=(maps(window_page(page(3), write=False)), *caught_by(2)), rsi=WINDOW, rbx=page(5), priority=2),
    logs("slat.dirty_manual", "KVM_CLEAR_DIRTY_LOG clears the pages that it names, KVM_GET_DIRTY_LOG none", (STORE_RBX, STORE_RSI, STORE_RDI, *LOG, *CLEAR, *LOG, STORE_RBX, *LOG),
         frozenset({3, 64, 100}), frozenset({64, 100}), frozenset({3, 64, 100}), furnish=_by_hand, rbx=page(3), rsi=page(64), rdi=page(100), priority=2),
    logs("slat.dirty_rmw",   "A locked read-modify-write is logged", (LOCK_INC, *LOG), frozenset({3}), rbx=page(3), priority=2),
    logs("slat.dirty_emul",  "A write by an emulated instruction is logged", (MOVSB, *LOG), frozenset({3}), rsi=HOLE, rdi=page(3), priority=2),
    logs("slat.dirty_host",  "A write by the host is not logged", (STORE_RBX, *HOST, *LOG), frozenset({3}), rbx=page(3), priority=2),
    logs("slat.dirty_toggle", "The log is empty when it is switched on, and again after off and on", (STORE_RBX, *ON, STORE_RSI, *LOG, STORE_RDI, *OFF, *ON, *LOG),
         frozenset({5}), NONE, rbx=page(3), rsi=page(5), rdi=page(64), furnish=_unlogged, priority=2),
)
# fmt: on
