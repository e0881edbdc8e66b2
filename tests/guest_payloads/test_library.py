"""The library of programs in C: small programs that use it, on the monitor."""

from dataclasses import replace
from pathlib import Path

import pytest

from virtproof.guest_payloads import images, program
from virtproof.guest_payloads.program import Ran
from virtproof.spec.x86.exception import Vector
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.exits import Timeout
from virtproof.vmm.machine import Machine

HEADERS = "".join(
    f'#include "library/{name}.h"\n' for name in ("apic", "interrupts", "pages", "pci", "report", "smp", "string")
)


def compiled(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``source`` the program "test"; a warning is an error."""
    (folder / "test.c").write_text(HEADERS + source)
    recipe = images.in_c(str(folder / "test.c"))
    flags = (*recipe.flags, "-Werror", f"-I{images.HERE}")
    monkeypatch.setattr(images, "RECIPES", {"test": replace(recipe, flags=flags)})
    monkeypatch.setattr(images, "BUILT", folder / "images")
    images.load.cache_clear()


def run(
    source: str,
    engine: KvmEngine,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    irqchip: bool = False,
    arguments: tuple[int, ...] = (),
    pci: "Pci | None" = None,
) -> Ran:
    def furnish(machine: Machine) -> None:
        if pci is not None:
            machine.bus.add_ports(0xCF8, 8, pci, "PCI configuration")

    compiled(source, folder, monkeypatch)
    return program.run(
        engine, "test", memory=1 << 20, seconds=10.0, irqchip=irqchip, arguments=arguments, furnish=furnish
    )


pytestmark = pytest.mark.kvm
Local = tuple[KvmEngine, Path, pytest.MonkeyPatch]


@pytest.fixture
def local(engine: KvmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Local:
    return engine, tmp_path, monkeypatch


def test_a_program_reports_and_returns(local: Local) -> None:
    source = """
    static u64 zero[100];
    int main(void) {
        message("here");
        observe(arguments[0] + arguments[1]);
        u64 sum = 0;
        for (int n = 0; n < 100; n++) sum |= zero[n];
        observe(sum);
        message("and \\x80 there");
        return 0;
    }"""
    ran = run(source, *local, arguments=(40, 2))
    assert ran == Ran((42, 0), True, ran.end, None, ("here", "and \\x80 there"))


def test_observations_beyond_the_array_are_dropped(local: Local) -> None:
    ran = run("int main(void) { for (u64 n = 0; n < 600; n++) observe(n); return 0; }", *local)
    assert ran.observations == tuple(range(512))


def test_a_message_that_lies_about_its_length_is_bounded(local: Local) -> None:
    ran = run("int main(void) { out32(0x5650, 5 << 24 | 0xffffff); return 0; }", *local)
    assert [len(text) for text in ran.messages] == [4096]


def test_a_handler_sees_and_changes_the_frame(local: Local) -> None:
    source = """
    static void on_ud(struct frame *f) {
        observe(f->vector); observe(f->rbx); observe(*(u16 *)f->rip);
        f->rip += 2;
        f->rbx = 7;
    }
    int main(void) {
        u64 rbx = 5;
        handle(6, on_ud);
        asm volatile("ud2" : "+b"(rbx));
        observe(rbx);
        return 0;
    }"""
    assert run(source, *local).observations == (Vector.UD, 5, 0x0B0F, 7)


def test_a_vector_without_handler_is_a_fault(local: Local) -> None:
    ran = run('int main(void) { asm volatile("ud2"); return 0; }', *local)
    assert (ran.done, ran.fault, ran.observations) == (False, Vector.UD, ())


def test_pages_are_mapped_and_unmapped(local: Local) -> None:
    source = """
    static u64 page[512] __attribute__((aligned(4096)));
    static u64 fault_at;
    static void on_pf(struct frame *f) {
        fault_at = read_cr2();
        observe(f->error_code);
        page_map(fault_at, (u64)page, PAGE_W);
    }
    int main(void) {
        volatile u64 *far = (u64 *)(1ull << 40 | 0x3000);
        handle(14, on_pf);
        observe(page_map((u64)far, (u64)page, PAGE_W));
        far[5] = 99;
        observe(page[5]);
        observe((*page_entry((u64)far, 1) & 0xfff) == (PAGE_P | PAGE_W | PAGE_A | PAGE_D));
        page_unmap((u64)far);
        far[6] = 11;
        observe(page[6]);
        observe(fault_at == (u64)&far[6]);
        observe(page_map(0x1000, 0, 0));
        return 0;
    }"""
    assert run(source, *local).observations == (1, 99, 1, 2, 11, 1, 0)


@pytest.mark.parametrize("prepare", ["", "if (apic_has_x2()) apic_use_x2(); else return 0;"], ids=["xapic", "x2apic"])
def test_the_local_apic_interrupts_by_timer_and_by_ipi(local: Local, prepare: str) -> None:
    source = """
    static unsigned ticks, ipis;
    static void on_timer(struct frame *f) { (void)f; __atomic_add_fetch(&ticks, 1, __ATOMIC_RELEASE); apic_eoi(); }
    static void on_ipi(struct frame *f) { (void)f; __atomic_add_fetch(&ipis, 1, __ATOMIC_RELEASE); apic_eoi(); }
    int main(void) {
        PREPARE
        handle(0x40, on_timer);
        handle(0x41, on_ipi);
        apic_enable(0xff);
        apic_timer(0x40, TIMER_ONE_SHOT, 1000);
        sti();
        while (!__atomic_load_n(&ticks, __ATOMIC_ACQUIRE)) pause();
        apic_send(apic_id(), IPI_FIXED | IPI_ASSERT | 0x41);
        while (!__atomic_load_n(&ipis, __ATOMIC_ACQUIRE)) pause();
        observe(ticks); observe(ipis); observe(apic_is_x2()); observe(apic_id());
        return 0;
    }"""
    ran = run(source.replace("PREPARE", prepare), *local, irqchip=True)
    if prepare and ran.observations == ():
        pytest.skip("no x2APIC")
    assert ran.observations == (1, 1, bool(prepare), 0)


class Pci:
    """One function at 00:03.0 with a capability, an I/O BAR and a 64-bit memory BAR."""

    def __init__(self) -> None:
        self.space = bytearray(256)
        self.space[0:8] = bytes.fromhex("f41a 4110 0300 1000")
        self.space[0x34] = 0x40
        self.space[0x40:0x42] = b"\x09\x50"
        self.space[0x50:0x52] = b"\x11\x00"
        self.bars = {0x10: (0x20, 1), 0x14: (0x4000, 4), 0x18: (1 << 32, 0)}  # size, low bits; 0x18 is the upper half
        self.values = {0x10: 0xC001, 0x14: 0xFEBC_0004, 0x18: 0}
        self.address = 0

    def read(self, offset: int, size: int) -> int:
        at = self.address & 0xFF
        if offset < 4 or self.address >> 8 != 0x8000_18:
            return (1 << 8 * size) - 1
        if at in self.bars:
            return self.values[at]
        return int.from_bytes(self.space[at + offset - 4 : at + offset - 4 + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        at = self.address & 0xFF
        if offset == 0 and size == 4:
            self.address = value
        elif at in self.bars and self.address >> 8 == 0x8000_18:
            length, low = self.bars[at]
            self.values[at] = value & -length & 0xFFFF_FFFF | low if at != 0x18 else value
        elif at == 4:
            self.space[4:6] = value.to_bytes(2, "little")


def test_pci_functions_capabilities_and_bars_are_found(local: Local) -> None:
    source = """
    int main(void) {
        pci_function f = pci_find(0x1af4, 0x1041);
        observe(f);
        observe(pci_find(0x1234, 0x5678));
        observe(pci_capability(f, 0x11));
        observe(pci_capability(f, 0x05));
        observe(pci_bar_size(f, 0));
        observe(pci_bar_size(f, 1));
        observe(pci_bar_size(f, 5));
        observe(pci_read16(f, 4));
        observe(pci_read32(f, 0x14));
        return 0;
    }"""
    ran = run(source, *local, pci=Pci())
    assert ran.observations == (0x18, 0xFFFF, 0x50, 0, 0x20, 0x4000, 0, 3, 0xFEBC_0004)


def test_every_processor_of_the_machine_starts(engine: KvmEngine) -> None:
    ran = program.run(engine, "smp", memory=1 << 20, seconds=10.0, vcpus=3, irqchip=True, arguments=(3,))
    assert (ran.done, ran.observations) == (True, (3, 3, 3000, 2))


def test_a_processor_that_does_not_come_is_missed(engine: KvmEngine) -> None:
    ran = program.run(engine, "smp", memory=1 << 20, seconds=0.2, vcpus=2, irqchip=True, arguments=(3,))
    assert (ran.done, ran.end) == (False, Timeout(0.2))
