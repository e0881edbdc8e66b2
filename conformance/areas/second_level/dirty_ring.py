"""The dirty ring: the pages that a vCPU has written, one entry each, in a ring that it shares with the monitor.

A page is entered at its first write, and again only after the entry was collected and the rings were reset.  A ring
that is full ends KVM_RUN; nothing is lost, and the guest goes on when entries have been collected and reset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from virtproof.conformance.case import Case, HostScript
from virtproof.conformance.guest import Inapplicable
from virtproof.conformance.of_kvm import kvm_engine, kvm_vcpu, kvm_vm
from virtproof.conformance.plain import start
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import ioctl
from virtproof.results import Check
from virtproof.spec.cite import linux
from virtproof.spec.kvm import Cap, Ioctl
from virtproof.vmm.dirty_ring import DirtyPage
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import DirtyRingFull, Exit, Halt, Timeout
from virtproof.vmm.machine import Machine

CITE = (linux("virt/kvm/api.rst", "KVM_CAP_DIRTY_LOG_RING/KVM_CAP_DIRTY_LOG_RING_ACQ_REL"),)
AT, PAGE = 0x3000_0000, 0x1000
SMALL, MANY = 1024, 3000  # KVM keeps room for what a processor logs by itself: 256 are too few with PML

# mov [rbx], al; mov [rsi], al; mov [rbx + 8], al; mov [rdi], al; hlt
STORES = bytes.fromhex("88 03 88 06 88 43 08 88 07 f4")
# 0: mov [rbx], al; add rbx, rsi; dec ecx; jne 0; hlt
LOOP = bytes.fromhex("88 03 48 01 f3 ff c9 75 f7 f4")


def _machine(engine: Engine, entries: int, pages: int) -> Machine:
    """A machine with a ring and a slot at ``AT`` that is logged.  Raises ``Inapplicable``."""
    engine = kvm_engine(engine)
    if not (engine.kvm.check_extension(Cap.DIRTY_LOG_RING_ACQ_REL) or engine.kvm.check_extension(Cap.DIRTY_LOG_RING)):
        raise Inapplicable("this kernel does not offer KVM_CAP_DIRTY_LOG_RING")
    machine = Machine(engine, dirty_ring=entries)
    machine.memory.add(AT, pages * PAGE, log_dirty=True)
    return machine


def _collect(machine: Machine) -> list[DirtyPage]:
    ring = kvm_vcpu(machine).dirty_ring
    assert ring is not None
    return ring.collect()


def _pages(entries: Iterable[DirtyPage], machine: Machine) -> str:
    """Page numbers where the slot is that at ``AT``."""
    slot = next(slot.number for slot in machine.memory.slots if slot.gpa == AT)
    return " ".join(str(entry.page) if entry.slot == slot else f"slot {entry.slot}: {entry.page}" for entry in entries)


def _exact(engine: Engine) -> Iterable[Check]:
    """Stores to pages 3, 64, 3 again and 5; reset; and the same again."""
    with _machine(engine, 4096, 128) as machine:
        for when in ("first", "after the reset"):
            start(machine, STORES, rbx=AT + 3 * PAGE, rsi=AT + 64 * PAGE, rdi=AT + 5 * PAGE)
            end = machine.run(2.0)
            yield Check("the guest ends with", "HLT", str(end), isinstance(end, Halt))
            saw = _pages(sorted(_collect(machine)), machine)
            yield Check(f"entries, {when}", "3 5 64", saw, saw == "3 5 64")
            saw = _pages(_collect(machine), machine)
            yield Check("entries left", "none", saw or "none", not saw)
            reset = ioctl(kvm_vm(machine).fd, Ioctl.RESET_DIRTY_RINGS)
            yield Check("entries that the reset counts", "3", str(reset), reset == 3)


def _full(engine: Engine) -> Iterable[Check]:
    """Stores to more pages than the ring has entries."""
    with _machine(engine, SMALL, MANY) as machine:
        start(machine, LOOP, rbx=AT, rsi=PAGE, rcx=MANY)
        seen: Counter[int] = Counter()
        full = 0
        end: Exit | Timeout = DirtyRingFull()
        while isinstance(end, DirtyRingFull) and full <= MANY:
            end = machine.run(2.0)
            full += isinstance(end, DirtyRingFull)
            seen.update(entry.page for entry in _collect(machine))
            ioctl(kvm_vm(machine).fd, Ioctl.RESET_DIRTY_RINGS)
        least = MANY // SMALL
        yield Check("exits because the ring was full", f"{least} or more", str(full), full >= least)
        yield Check("then the guest ends with", "HLT", str(end), isinstance(end, Halt))
        lost = [n for n in range(MANY) if n not in seen]
        yield Check("pages lost", "0", str(len(lost)), not lost)
        alien = [page for page in seen if not 0 <= page < MANY]
        yield Check("pages never written", "0", str(len(alien)), not alien)


# fmt: off
CASES: tuple[Case, ...] = (
    HostScript(id="slat.ring_exact", title="The dirty ring lists each page that was written, once",            area="second_level", mode=Mode.LONG64, cite=CITE, script=_exact, priority=2),
    HostScript(id="slat.ring_full",  title="A full dirty ring ends KVM_RUN, and no page is lost when it goes on", area="second_level", mode=Mode.LONG64, cite=CITE, script=_full, priority=2, seconds=20.0),
)
# fmt: on
