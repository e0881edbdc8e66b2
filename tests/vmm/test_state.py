"""Machines saved, and continued elsewhere; saved files that lie."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.processes import descriptors
from tests.vmm import handlers as h
from tests.vmm.guests import CODE, SECONDS, long64, machine
from virtproof.kvm import CpuidEntry
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.devices import ClockData, PitState2
from virtproof.spec.kvm.exits import MpStateValue
from virtproof.spec.kvm.structures import Debugregs, VcpuEvents
from virtproof.vmm import exits, modes
from virtproof.vmm.devices.serial import Serial
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.events import EventLoop
from virtproof.vmm.interrupts import InjectedInterrupts, SplitIrqchip
from virtproof.vmm.machine import Irqchip, Machine
from virtproof.vmm.registers import Registers
from virtproof.vmm.routing import to_vector
from virtproof.vmm.state import VCPU_SIZES, MachineState, SavedSlot, StateError, VcpuState, restore, save
from virtproof.vmm.state_file import MAGIC, read_state, write_state

PAGE = 0x1000
PORT = 0x510
PIC_IRR = 9  # in struct kvm_irqchip: behind its number and the last levels
STAR = 0xC000_0081


def example() -> MachineState:
    """A state that no kernel gave."""
    return MachineState(
        irqchip="split",
        pit=False,
        memory=(
            SavedSlot(0, 8 * PAGE, False, True, "anonymous", ((PAGE, b"\x01" * PAGE), (4 * PAGE, b"\x02" * 2 * PAGE))),
            SavedSlot(1 << 32, PAGE, True, False, "memfd", ()),
        ),
        vm={},
        vcpus=(
            VcpuState(
                {"regs": bytes(VCPU_SIZES["regs"]), "xsave": bytes(0x2000)},
                (CpuidEntry(1, 0, 0, 1, 2, 3, 0xFFFF_FFFF),),
                {0x10: (1 << 64) - 1},
            ),
        ),
        devices={"COM1": {"scratch": 3}},
        interrupts={"high": [1]},
        missing=("nothing much",),
        tsc_khz=2_000_000,
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_state(tmp_path / "state", example())
    assert read_state(tmp_path / "state") == example()


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    _, _, length, _ = struct.unpack_from("<16sII32s", data)
    return json.loads(data[56 : 56 + length]), data[56 + length :]


def rebuilt(header: object, pages: bytes, *, version: int = 1, length: int | None = None) -> bytes:
    import hashlib

    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    digest = hashlib.sha256(body + pages).digest()
    return struct.pack("<16sII32s", MAGIC, version, len(body) if length is None else length, digest) + body + pages


def changed(*path: str | int, to: object) -> Callable[[bytes], bytes]:
    """Put another value into the header, the checksum being right."""

    def change(data: bytes) -> bytes:
        header, pages = header_of(data)
        place: Any = header
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to
        return rebuilt(header, pages)

    return change


LIES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "another file": lambda data: b"\x7fELF" + data[4:],
    "a later version": lambda data: rebuilt(*header_of(data), version=2),
    "header beyond the end": lambda data: rebuilt(*header_of(data), length=1 << 20),
    "a huge header": lambda data: rebuilt(*header_of(data), length=0xFFFF_FFFF),
    "a flipped bit of a page": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "cut short": lambda data: data[:-1],
    "a tail": lambda data: data + b"x",
    "no JSON": lambda data: rebuilt(b"{", b""),
    "a list": lambda data: rebuilt(b"[]", b""),
    "nested deeply": lambda data: rebuilt(b"[" * 100_000, b""),
    "no frequency": changed("tsc_khz", to=-1),
    "a number that is a string": changed("memory", 0, "size", to="8"),
    "a number that is a fraction": changed("memory", 0, "gpa", to=0.5),
    "a negative size": changed("memory", 0, "size", to=-PAGE),
    "more memory than there may be": changed("memory", 0, "size", to=1 << 51),
    "half a page": changed("memory", 0, "size", to=PAGE // 2),
    "a run outside its slot": changed("memory", 0, "runs", to=[[7 * PAGE, 2 * PAGE]]),
    "a run that names more than the file has": changed("memory", 0, "runs", to=[[0, 8 * PAGE]]),
    "runs that overlap": changed("memory", 0, "runs", to=[[PAGE, 2 * PAGE], [2 * PAGE, PAGE]]),
    "an unknown backing": changed("memory", 0, "backing", to="floppy"),
    "a backing that cannot be a key": changed("memory", 0, "backing", to=["anonymous"]),
    "an unknown controller": changed("irqchip", to="8259"),
    "no vCPU": changed("vcpus", to=[]),
    "an unknown part": changed("vcpus", 0, "parts", to={"soul": ""}),
    "a part too short": changed("vcpus", 0, "parts", to={"regs": "AAAA"}),
    "a part that is no base64": changed("vcpus", 0, "parts", to={"regs": "!"}),
    "a wide MSR": changed("vcpus", 0, "msrs", to=[[0x10, 1 << 64]]),
    "a row of CPUID too short": changed("vcpus", 0, "cpuid", to=[[1, 2]]),
    "devices that are a list": changed("devices", to=[]),
    "a device that is a number": changed("devices", to={"COM1": 3}),
    "interrupts that are a list": changed("interrupts", to=[]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused_in_words(tmp_path: Path, lie: str) -> None:
    path = tmp_path / "state"
    write_state(path, example())
    path.write_bytes(LIES[lie](path.read_bytes()))
    with pytest.raises(StateError) as caught:
        read_state(path)
    assert str(path) in str(caught.value)


def test_no_damaged_file_is_anything_but_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_state(path, example())
    good = path.read_bytes()
    header_end = good.index(b"nothing much") + 20
    chance = random.Random(5)
    for _ in range(300):
        bad = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            bad[chance.randrange(header_end)] = chance.randrange(256)
        if bad == good:
            continue
        path.write_bytes(bad)
        with pytest.raises(StateError):
            read_state(path)


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="No such file"):
        read_state(tmp_path / "nothing")


def serial(out: bytearray, events: EventLoop) -> Serial:
    return Serial(out.append, lambda level: None, events.after)


def test_a_uart_keeps_its_registers_and_what_it_received() -> None:
    with EventLoop() as events:
        one, other = serial(bytearray(), events), serial(bytearray(), events)
        for offset, value in ((3, 0x83), (0, 0x34), (1, 0x12), (3, 0x1B), (2, 0xC1), (1, 0x0D), (4, 0x0B), (7, 0x5A)):
            one.write(offset, 1, value)
        one.receive(b"hello")
        other.restore(json.loads(json.dumps(one.state())))
        assert other.state() == one.state()
        for device in (one, other):
            assert bytes(device.read(0, 1) for _ in range(5)) == b"hello"
        for offset in (1, 2, 3, 4, 5, 6, 7):
            assert one.read(offset, 1) == other.read(offset, 1)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"registers": [1, 2, 3]},
        {"registers": [0, 0, 0, 0, 0, 256], "scratch": 0, "received": [], "last": 0, "flags": [0, 0, 0], "level": 0},
        {
            "registers": [1 << 20, 0, 0, 0, 0, 0],
            "scratch": 0,
            "received": [],
            "last": 0,
            "flags": [0, 0, 0],
            "level": 0,
        },
        {"registers": [0] * 6, "scratch": "x", "received": [], "last": 0, "flags": [0, 0, 0], "level": 0},
        {"registers": [0] * 6, "scratch": 0, "received": [], "last": 0, "flags": [0], "level": 0},
    ],
)
def test_a_uart_refuses_what_it_did_not_give(state: dict[str, Any]) -> None:
    with EventLoop() as events, pytest.raises((ValueError, TypeError, KeyError)):
        serial(bytearray(), events).restore(state)


class Routed:
    def set_routes(self, routes: object) -> None: ...
    def signal_msi(self, address: int, data: int) -> None: ...


@pytest.mark.parametrize("make", [lambda: SplitIrqchip(Routed()), lambda: InjectedInterrupts(lambda: None)])
def test_a_sink_keeps_its_lines(make: Callable[[], SplitIrqchip | InjectedInterrupts]) -> None:
    one, other = make(), make()
    if isinstance(one, SplitIrqchip):
        one.route([to_vector(4, 0x34, level=True)])
    else:
        one.level = {4}
    one.set_line(4, True)
    one.set_line(9, True)
    other.restore(json.loads(json.dumps(one.state())))
    assert other.state() == one.state()
    with pytest.raises(ValueError, match="lines"):
        other.restore(one.state() | {"high": [-1]})


# ---- under KVM

# 64-bit, a loop that counts in memory and tells.  1: incl %eax; mov %eax, 0x5_0000; out %eax, %dx; jmp
COUNT = b"\xff\xc0\x89\x04\x25\x00\x00\x05\x00\xef\xeb\xf4"


class Until:
    """Stops the machine at each write; keeps what was written."""

    def __init__(self, guest: Machine) -> None:
        self.guest = guest
        self.seen: list[int] = []

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        self.seen.append(value)
        self.guest.stop()


def furnish(guest: Machine) -> Until:
    device = Until(guest)
    guest.bus.add_ports(PORT, 4, device, "until")
    return device


def counting(engine: KvmEngine, **asked: Any) -> Machine:
    return machine(engine, long64, COUNT, registers=Registers(rdx=PORT), cpuid=engine.supported_cpuid(), **asked)


@pytest.mark.kvm
@pytest.mark.parametrize("irqchip", [False, "kernel", "split", "injected", "user"])
def test_a_machine_goes_on_where_it_was(engine: KvmEngine, tmp_path: Path, irqchip: bool | Irqchip) -> None:
    devices: list[Until] = []
    with counting(engine, irqchip=irqchip, pit=irqchip in ("kernel", "user")) as guest:
        device = furnish(guest)
        for _ in range(3):
            assert guest.run(SECONDS) == exits.Interrupted()
        guest.vcpu.set_msrs({STAR: 0x0023_0010_0000_0000})
        state = save(guest)
        write_state(tmp_path / "state", state)
        registers, special = guest.vcpu.registers(), guest.vcpu.special_registers()
        table = guest.vcpu.cpuid()
    assert device.seen == [1, 2, 3]
    assert any(text.startswith("device until") for text in state.missing)
    loaded = read_state(tmp_path / "state")
    assert loaded == state
    revived, missing = restore(engine, loaded, lambda made: devices.append(furnish(made)))
    with revived:
        assert revived.vcpu.registers() == registers
        assert revived.vcpu.special_registers() == special
        assert revived.vcpu.cpuid() == table
        assert revived.vcpu.get_msrs([STAR]) == {STAR: 0x0023_0010_0000_0000}
        assert revived.memory.read(0x5_0000, 4) == b"\x03\0\0\0"
        for _ in range(2):
            assert revived.run(SECONDS) == exits.Interrupted()
    assert devices[0].seen == [4, 5]
    assert missing == state.missing


CONTINUE = """
import sys
from virtproof.kvm import Kvm
from virtproof.vmm.engines.kvm import KvmEngine
from virtproof.vmm.state import restore
from virtproof.vmm.state_file import read_state
from tests.vmm.test_state import furnish

devices = []
with Kvm.open() as kvm:
    guest, missing = restore(KvmEngine(kvm), read_state(sys.argv[1]), lambda made: devices.append(furnish(made)))
    with guest:
        guest.run(20)
        guest.run(20)
print(devices[0].seen)
"""


@pytest.mark.kvm
def test_a_machine_goes_on_in_another_process(engine: KvmEngine, tmp_path: Path) -> None:
    with counting(engine, irqchip="kernel") as guest:
        furnish(guest)
        guest.run(SECONDS)
        write_state(tmp_path / "state", save(guest))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", CONTINUE, tmp_path / "state"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{root}/src:{root}"},
    )
    assert (done.stdout, done.stderr) == ("[2, 3]\n", "")


@pytest.mark.kvm
def test_serial_memory_and_flags_of_slots_come_back(engine: KvmEngine) -> None:
    sent = bytearray()
    with counting(engine, ram=0x10_0000) as guest:
        guest.add_serial(sent.append)
        guest.memory.add(1 << 32, 4 * PAGE, read_only=True, backing="memfd")
        guest.memory.load((1 << 32) + 2 * PAGE, b"far away")
        guest.bus.pio_out(0x3FF, 1, 0x5A)
        state = save(guest)
    runs = {slot.gpa: [offset for offset, _ in slot.runs] for slot in state.memory}
    assert runs[1 << 32] == [2 * PAGE]  # what is zero is not kept
    revived, missing = restore(engine, state, lambda made: made.add_serial(sent.append) and None)
    with revived:
        assert revived.memory.read((1 << 32) + 2 * PAGE, 8) == b"far away"
        assert [(s.gpa, s.read_only, s.memory.backing) for s in revived.memory.slots] == [
            (0, False, "anonymous"),
            (1 << 32, True, "memfd"),
        ]
        assert revived.bus.pio_in(0x3FF, 1) == 0x5A
    assert missing == ()
    revived, missing = restore(engine, state)
    revived.close()
    assert missing == ("device COM1: its state was saved, but this machine has no such device",)


@pytest.mark.kvm
def test_an_interrupt_that_waits_is_taken_after_the_restore(engine: KvmEngine) -> None:
    """The PIC has a request and IMR; the guest opens its interrupts only in its second life."""
    code = (
        h.pic_setup() + h.outb(h.RAISE, 0) + h.outb(h.RAISE, 0) + h.STI + h.outb(0x51C, 0) * 4 + h.REPORT_COUNT + h.SPIN
    )
    lives: list[h.Calls] = []
    with h.interruptible(engine, code, {0x25: h.handler(h.COUNT_ONE, h.EOI_PIC)}, irqchip="kernel") as guest:
        count = 0

        def raise_then_stop() -> None:
            nonlocal count
            count += 1
            guest.interrupts.set_line(5, True)
            if count == 2:
                guest.stop()

        h.calls(guest, {h.RAISE: raise_then_stop})
        assert guest.run(SECONDS) == exits.Interrupted()
        state = save(guest)
    revived, _ = restore(engine, state, lambda made: lives.append(h.calls(made)))
    with revived:
        assert revived.run(SECONDS) == exits.Interrupted()
    assert lives[0].results == [1]


@pytest.mark.kvm
def test_every_vcpu_is_restored_in_its_own_state(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, b"\xf4", vcpus=3, irqchip="kernel", cpuid=engine.supported_cpuid()) as guest:
        for index, vcpu in enumerate(guest.vcpus):
            vcpu.set_registers(Registers(rip=CODE, rbx=0x100 + index))
        guest.vcpus[2].set_mp_state(MpStateValue.RUNNABLE)
        state = save(guest)
    revived, missing = restore(engine, state)
    with revived:
        assert [vcpu.registers().rbx for vcpu in revived.vcpus] == [0x100, 0x101, 0x102]
        assert [vcpu.mp_state() for vcpu in revived.vcpus] == [
            MpStateValue.RUNNABLE,
            MpStateValue.UNINITIALIZED,
            MpStateValue.RUNNABLE,
        ]
    assert missing == ()


TIME_RELATED = {0x10, 0x3B, 0x6E0}  # TSC, TSC_ADJUST, TSC_DEADLINE


@pytest.mark.kvm
def test_every_part_is_the_same_after_another_save(engine: KvmEngine) -> None:
    """Values that no reset leaves, in every part; then saved, restored and saved again."""
    timer = h.outb(0x43, 0x34) + h.outb(0x40, 0xA9) + h.outb(0x40, 0x04)
    apic = h.store(h.APIC + 0x80, 0x30) + h.store(h.APIC + 0x320, 0x1_00EF)  # TPR; LVT timer, masked
    code = h.pic_setup(level=0x20) + timer + h.ENABLE_APIC + apic + h.ioapic_setup(9, 0x39, level=True)
    with h.interruptible(
        engine, code + h.REPORT_COUNT, {}, irqchip="kernel", pit=True, cpuid=engine.supported_cpuid()
    ) as guest:
        h.calls(guest)
        assert guest.run(SECONDS) == exits.Interrupted()
        debug = Debugregs(dr6=0xFFFF_0FF0, dr7=0x400)
        debug.db[:] = [0x1111, 0x2222, 0x3333, 0x4444]
        guest.vcpu.set(Ioctl.SET_DEBUGREGS, bytes(debug))  # type: ignore[attr-defined]
        guest.vcpu.set_msrs({STAR: 0x0023_0010_0000_0000, 0x277: 0x0007_0406_0007_0406})  # type: ignore[attr-defined]
        guest.vcpu.nmi()
        one = save(guest)
        while not one.vm["irqchip pic_master"][PIC_IRR] & 1:  # from its first tick on the timer's request stays
            one = save(guest)
    revived, missing = restore(engine, one, lambda made: h.calls(made) and None)
    with revived:
        other = save(revived)
    assert missing == one.missing
    (before,), (after,) = one.vcpus, other.vcpus
    assert {*before.parts} >= {"regs", "mp_state", "lapic", "debugregs", "events"}
    for name, data in before.parts.items():
        assert after.parts[name] == data, name
    assert VcpuEvents.from_buffer_copy(after.parts["events"]).nmi.pending
    assert {k: v for k, v in before.msrs.items() if k not in TIME_RELATED} == {
        k: v for k, v in after.msrs.items() if k not in TIME_RELATED
    }
    for name, data in one.vm.items():
        if name.startswith("irqchip"):
            assert other.vm[name] == data, name
    was, now = (PitState2.from_buffer_copy(state.vm["pit"]).channels[0] for state in (one, other))
    assert (was.count, was.mode) == (now.count, now.mode) == (0x4A9, 2)
    assert ClockData.from_buffer_copy(other.vm["clock"]).clock >= ClockData.from_buffer_copy(one.vm["clock"]).clock


@pytest.mark.kvm
def test_an_x87_and_sse_state_comes_back(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, b"\xf4", cpuid=engine.supported_cpuid()) as guest:
        state = save(guest)
        (vcpu,) = state.vcpus
        if "xsave" not in vcpu.parts:
            pytest.skip("this kernel has no KVM_CAP_XSAVE")
        area = bytearray(vcpu.parts["xsave"])
        area[0:2] = (0x027F).to_bytes(2, "little")  # FCW
        area[160:176] = bytes(range(16))  # XMM0
        area[512] |= 3  # XSTATE_BV: x87 and SSE are not in their initial state
        changed_state = replace(state, vcpus=(replace(vcpu, parts={**vcpu.parts, "xsave": bytes(area)}),))
    revived, missing = restore(engine, changed_state)
    with revived:
        again = save(revived).vcpus[0].parts["xsave"]
    assert missing == ()
    assert again[0:2] == (0x027F).to_bytes(2, "little")
    assert again[160:176] == bytes(range(16))


@pytest.mark.kvm
def test_another_frequency_of_the_time_stamp_counter_is_scaled_or_named(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, b"\xf4") as guest:
        state = save(guest)
    if not state.tsc_khz:
        pytest.skip("this kernel does not tell the frequency")
    revived, missing = restore(engine, replace(state, tsc_khz=state.tsc_khz // 2))
    with revived:
        scaled = revived.vcpus[0].tsc_khz() == state.tsc_khz // 2  # type: ignore[attr-defined]
    assert scaled != any(text.startswith("TSC") for text in missing)


@pytest.mark.kvm
def test_what_cannot_be_saved_is_named(engine: KvmEngine) -> None:
    fd = os.eventfd(0)
    try:
        with machine(engine, modes.real16, b"\xf4") as guest:
            furnish(guest)
            guest.vm.attach_ioeventfd(fd, "pio", 0x600, 1)
            guest.memory.map(0x40_0000, guest.memory.slots[0].memory)
            text = "\n".join(save(guest).missing)
    finally:
        os.close(fd)
    assert "device until" in text
    assert "1 eventfds" in text
    assert "share memory" in text


@pytest.mark.kvm
def test_a_state_that_does_not_fit_leaves_nothing_behind(engine: KvmEngine) -> None:
    with machine(engine, modes.real16, b"\xf4") as guest:
        guest.add_serial(lambda byte: None)
        state = save(guest)
    before = descriptors()
    wrong = replace(state, devices={"COM1": {"registers": "no"}})
    with pytest.raises(StateError, match="COM1"):
        restore(engine, wrong, lambda made: made.add_serial(lambda byte: None) and None)
    (vcpu,) = state.vcpus
    parts = dict(vcpu.parts)
    name = "sregs2" if "sregs2" in parts else "sregs"
    parts[name] = b"\xff" * len(parts[name])
    with pytest.raises(StateError, match=f"restore {name}"):
        restore(engine, replace(state, vcpus=(replace(vcpu, parts=parts),)))
    assert descriptors() == before
