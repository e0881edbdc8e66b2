"""Interrupt sinks: what reaches the kernel."""

from virtproof.vmm.interrupts import InterruptSink, KernelIrqchip, NoInterrupts


class Vm:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def set_irq_line(self, gsi: int, level: bool) -> None:
        self.calls.append(("line", gsi, level))

    def signal_msi(self, address: int, data: int) -> None:
        self.calls.append(("msi", address, data))


def test_only_changes_of_a_line_reach_the_kernel() -> None:
    vm = Vm()
    chip = KernelIrqchip(vm)
    for level in (False, True, True, False, False, True):
        chip.set_line(4, level)
    chip.set_line(5, True)
    assert vm.calls == [("line", 4, True), ("line", 4, False), ("line", 4, True), ("line", 5, True)]


def test_every_msi_reaches_the_kernel() -> None:
    vm = Vm()
    chip = KernelIrqchip(vm)
    chip.send_msi(0xFEE00000, 0x4041)
    chip.send_msi(0xFEE00000, 0x4041)
    assert vm.calls == [("msi", 0xFEE00000, 0x4041)] * 2


def test_eoi_reaches_everyone_who_asked_for_that_line() -> None:
    chip = KernelIrqchip(Vm())
    seen: list[str] = []
    chip.on_eoi(10, lambda: seen.append("first"))
    chip.on_eoi(10, lambda: seen.append("second"))
    chip.on_eoi(11, lambda: seen.append("other"))
    chip.eoi(10)
    chip.eoi(12)
    assert seen == ["first", "second"]


def test_no_interrupts_is_a_sink() -> None:
    sink: InterruptSink = NoInterrupts()
    sink.set_line(4, True)
    sink.send_msi(0, 0)
    sink.on_eoi(4, lambda: None)
