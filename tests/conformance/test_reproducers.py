"""Reproducers boot and give their verdict: on our monitor, on QEMU and on Bochs."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab import emulators
from virtproof.conformance import export
from virtproof.conformance.case import Row
from virtproof.conformance.catalogue import all_cases
from virtproof.guest_payloads import images
from virtproof.vmm import modes
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers

CASES = {case.id: case for case in all_cases()}

# fmt: off
RIGHT = (  # QEMU's own processor does these right, and so does Bochs
    "trap.ud.ud2.real16", "trap.de.div_zero.real16", "trap.db.tf_nop.real16", "trap.real.ivt_limit.real16",
    "trap.db.tf_nop.prot32", "trap.idt.int_np.prot32", "trap.gate.intgate.prot32", "sens.sidt.cpl3.prot32",
    "pg.p32.pae2m", "pg.p32.read", "pg.p32.4m_dirty", "mode.trans.pm16", "mode.trans.pm16_wrap",
    "priv.vm86.int3", "priv.vm86.int_iopl3", "trap.soft.int3.compat32", "mode.trans.compat_to_long",
    "pg.acc.ring1_supervisor.long64", "priv.cli.iopl2.cpl2.long64",
    "trap.db.tf_nop.long64", "trap.df.pf_then_np.long64", "trap.stack.ist.long64", "trap.ok.len15.long64",
    "trap.nm.clts_retry.long64", "sens.sgdt.umip.cpl0.long64", "trap.ud.feat.avx_on.long64", "mode.canon.lea",
    "pg.ad.a_read", "pg.ad.d_1g", "pg.acc.cross_read", "msr.gen.high_halves",
    "trap.db.tf_nop.ring3", "trap.ac.flag0.ring3", "sens.smsw.cpl3.long64",
)
ON_KVM_PVM = ("trap.ud.ud2.real16", "trap.ud.ud2.prot32", "trap.ud.ud2.long64", "trap.ud.ud2.ring3")
A_MODE_EACH = (
    *ON_KVM_PVM, "trap.ud.ud2.pae32", "priv.vm86.int3", "mode.trans.pm16", "pg.p32.read", "trap.soft.int3.compat32",
)
# fmt: on
SHUTS_DOWN = "trap.triple.idt_limit0.long64"


def write(folder: Path, name: str, **expect: object) -> tuple[Path, int]:
    """The kernel's file and the MiB of memory it needs; ``expect`` changes what the case asks for."""
    case = CASES[name]
    assert isinstance(case, Row)
    made = export.export(replace(case, expect=replace(case.expect, **expect)))  # type: ignore[arg-type]
    file = folder / "kernel.elf"
    file.write_bytes(made.kernel)
    return file, made.memory


@pytest.mark.lab
class TestOnQemu:
    @pytest.mark.parametrize("name", RIGHT)
    def test_passes_where_the_processor_is_right(self, tmp_path: Path, name: str) -> None:
        file, memory = write(tmp_path, name)
        status, said = emulators.qemu(file, memory=memory)
        assert "WRONG" not in said
        assert said.endswith(f"PASS {name}\n")
        assert status == 1

    @pytest.mark.parametrize("name", ["trap.db.tf_nop.real16", "trap.db.tf_nop.prot32", "trap.db.tf_nop.long64"])
    def test_fails_where_it_is_not_as_expected(self, tmp_path: Path, name: str) -> None:
        file, memory = write(tmp_path, name, regs={"rcx": 0x1234})
        status, said = emulators.qemu(file, memory=memory)
        (wrong,) = [line for line in said.splitlines() if "WRONG" in line]
        assert wrong.split()[:4] == ["WRONG", "rcx", "expected", "0x1234,"]
        assert said.endswith(f"FAIL {name}\n")
        assert status == 3

    def test_a_missing_feature_is_neither(self, tmp_path: Path) -> None:
        file, memory = write(tmp_path, "trap.ud.ud2.long64")
        status, said = emulators.qemu(file, memory=memory, cpu="qemu32")
        assert said.endswith("SKIP: the processor has no long mode\n")
        assert status == 5

    def test_a_triple_fault_says_nothing_and_living_on_is_a_failure(self, tmp_path: Path) -> None:
        file, memory = write(tmp_path, SHUTS_DOWN)
        status, said = emulators.qemu(file, memory=memory)
        assert status == 0
        assert said.splitlines()[-1].startswith("running")
        file, memory = write(tmp_path, "trap.ud.ud2.long64", stop=export.SHUTDOWN)
        status, said = emulators.qemu(file, memory=memory)
        assert status == 3
        assert said.endswith("FAIL trap.ud.ud2.long64\n")


@pytest.mark.lab
@pytest.mark.parametrize("name", A_MODE_EACH)
def test_passes_on_bochs(tmp_path: Path, name: str) -> None:
    file, memory = write(tmp_path, name)
    said = emulators.bochs(file, memory=memory)
    assert "WRONG" not in said
    assert said.endswith(f"PASS {name}\n")


class Exit:
    """isa-debug-exit: a write ends the guest."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.code = machine, -1

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.code = value
        self.machine.stop()


@pytest.mark.kvm
@pytest.mark.parametrize("name", ON_KVM_PVM)
def test_passes_on_our_own_monitor(engine: KvmEngine, tmp_path: Path, name: str) -> None:
    """Loaded by hand, and entered as multiboot says."""
    file, _ = write(tmp_path, name)
    kernel, stub = file.read_bytes(), images.load("reproducer")
    offset, _, address, length = struct.unpack_from("<4I", kernel, 52 + 4)
    said = bytearray()
    with Machine(engine, ram=4 << 20, cpuid=engine.supported_cpuid()) as machine:
        leave = Exit(machine)
        machine.bus.add_ports(0xF4, 4, leave, "isa-debug-exit")
        machine.add_serial(said.append)
        machine.memory.load(address, kernel[offset : offset + length])
        machine.vcpu.set_special_registers(modes.prot32(machine.vcpu.special_registers()))
        machine.vcpu.set_registers(Registers(rip=stub["entry"]))
        machine.run(30)
    assert "WRONG" not in said.decode()
    assert said.decode().endswith(f"PASS {name}\r\n")
    assert leave.code == 0
