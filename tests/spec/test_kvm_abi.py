"""The KVM tables against the C compiler's reading of <linux/kvm.h>."""

from __future__ import annotations

import ctypes
import inspect
import re
import shutil
import subprocess
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import pytest

from virtproof.spec.kvm import capabilities, devices, exits, ioctls, other, run, structures

HEADER = Path("/usr/include/linux/kvm.h")
LINUX_6_1 = (6, 1)

# Enumeration -> the prefix and suffix of its names in C.
CONSTANTS: dict[type[IntEnum] | type[IntFlag], tuple[str, str]] = {
    ioctls.Ioctl: ("KVM_", ""),
    capabilities.Cap: ("KVM_CAP_", ""),
    exits.ExitReason: ("KVM_EXIT_", ""),
    exits.IoDirection: ("KVM_EXIT_IO_", ""),
    exits.InternalError: ("KVM_INTERNAL_ERROR_", ""),
    exits.EmulationFlag: ("KVM_INTERNAL_ERROR_EMULATION_FLAG_", ""),
    exits.SystemEventType: ("KVM_SYSTEM_EVENT_", ""),
    exits.HypervExitType: ("KVM_EXIT_HYPERV_", ""),
    exits.MsrExitReason: ("KVM_MSR_EXIT_REASON_", ""),
    exits.RunFlag: ("KVM_RUN_X86_", ""),
    exits.MemoryFlag: ("KVM_MEM_", ""),
    exits.MpStateValue: ("KVM_MP_STATE_", ""),
    exits.IrqchipId: ("KVM_IRQCHIP_", ""),
    exits.IrqRoutingType: ("KVM_IRQ_ROUTING_", ""),
    exits.CpuidFlag: ("KVM_CPUID_FLAG_", ""),
    exits.GuestDebugFlag: ("KVM_GUESTDBG_", ""),
    exits.VcpuEventFlag: ("KVM_VCPUEVENT_VALID_", ""),
    exits.InterruptShadow: ("KVM_X86_SHADOW_INT_", ""),
    exits.IoeventfdFlag: ("KVM_IOEVENTFD_FLAG_", ""),
    exits.IrqfdFlag: ("KVM_IRQFD_FLAG_", ""),
    exits.ClockFlag: ("KVM_CLOCK_", ""),
    exits.SyncFlag: ("KVM_SYNC_X86_", ""),
    exits.Quirk: ("KVM_X86_QUIRK_", ""),
    exits.DisabledExit: ("KVM_X86_DISABLE_EXITS_", ""),
    exits.X2apicApi: ("KVM_X2APIC_API_", ""),
    exits.NestedStateFlag: ("KVM_STATE_NESTED_", ""),
    exits.MsrFilterFlag: ("KVM_MSR_FILTER_", ""),
    exits.MsrFilterDefault: ("KVM_MSR_FILTER_DEFAULT_", ""),
    exits.PitFlag: ("KVM_PIT_", ""),
    exits.StatsType: ("KVM_STATS_TYPE_", ""),
    exits.DirtyLogFlag: ("KVM_DIRTY_LOG_", ""),
    exits.DirtyGfnFlag: ("KVM_DIRTY_GFN_F_", ""),
    exits.PageOffset: ("KVM_", "_PAGE_OFFSET"),
}

# Structures that came after Linux 6.1, by the ioctl that came with them.
NEWER_STRUCTURES: dict[type[ctypes.Structure], str] = {
    structures.UserspaceMemoryRegion2: "KVM_SET_USER_MEMORY_REGION2",
    structures.MemoryAttributes: "KVM_SET_MEMORY_ATTRIBUTES",
    structures.CreateGuestMemfd: "KVM_CREATE_GUEST_MEMFD",
    structures.PreFaultMemory: "KVM_PRE_FAULT_MEMORY",
}
NEWER_NAMES = re.compile(
    r"KVM_(SET_USER_MEMORY_REGION2|SET_MEMORY_ATTRIBUTES|CREATE_GUEST_MEMFD|PRE_FAULT_MEMORY|EXIT_MEMORY_FAULT|EXIT_TDX"
    r"|CAP_(USER_MEMORY2|MEMORY_FAULT_INFO|MEMORY_ATTRIBUTES|GUEST_MEMFD|VM_TYPES|PRE_FAULT_MEMORY"
    r"|X86_APIC_BUS_CYCLES_NS|X86_GUEST_MODE)"
    r"|SYSTEM_EVENT_TDX_FATAL|RUN_X86_GUEST_MODE|MEM_GUEST_MEMFD"
    r"|X86_QUIRK_(SLOT_ZAP_ALL|STUFF_FEATURE_MSRS|IGNORE_GUEST_PAT))"
)
OTHER_ARCHITECTURES = re.compile(r"S390|PPC|SPAPR|ARM|MIPS|RISCV|RMA$|XICS|MPIC|^PV_|RTAS|SW_TLB")

UNTAGGED = {cls for _, cls in inspect.getmembers(run, inspect.isclass)} - {
    run.Run,
    run.SyncRegs,
    run.HypervExit,
    run.XenExit,
}


def structs() -> list[type[ctypes.Structure]]:
    """Every class that stands for a structure with a name in C."""
    return [
        cls
        for module in (structures, devices, other, run)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and issubclass(cls, ctypes.Structure) and cls not in UNTAGGED
    ]


def c_name(cls: type) -> str:
    return "struct kvm" + re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), cls.__name__)


def offsets(cls: Any, path: str = "", base: int = 0) -> dict[str, int]:
    """C path of every member -> its offset, through nested structures and unions."""
    found = {}
    for name, kind, *_ in cls._fields_:
        at = base + getattr(cls, name).offset
        anonymous = name in getattr(cls, "_anonymous_", ())
        inner = path if anonymous else f"{path}{name}."
        if not anonymous:
            found[path + name] = at
        if issubclass(kind, ctypes.Structure | ctypes.Union):
            found.update(offsets(kind, inner, at))
    return found


def expected() -> tuple[dict[str, int], list[str]]:
    """What the tables say, and C lines that print what the compiler says."""
    values: dict[str, int] = {}
    lines = []
    for cls in structs():
        tag, guard = c_name(cls), NEWER_STRUCTURES.get(cls)
        rows = {f"sizeof({tag})": ctypes.sizeof(cls)}
        rows |= {f"offsetof({tag}, {path})": at for path, at in offsets(cls).items()}
        values |= rows
        body = [f'printf("%llu {row}\\n", (unsigned long long)({row}));' for row in rows]
        lines += [f"#ifdef {guard}", *body, "#endif"] if guard else body
    for enum, (prefix, suffix) in CONSTANTS.items():
        for name, member in enum.__members__.items():
            symbol = prefix + name + suffix
            values[symbol] = int(member)
            lines += [f"#ifdef {symbol}", f'printf("%llu {symbol}\\n", (unsigned long long)({symbol}));', "#endif"]
    return values, lines


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Name -> value, as printed by a C program that includes the installed header."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    if not HEADER.exists():
        pytest.skip(f"no {HEADER} (package linux-libc-dev)")
    source = tmp_path_factory.mktemp("abi") / "abi.c"
    _, lines = expected()
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <linux/kvm.h>\n#include <linux/version.h>\n"
        'int main(void) {\nprintf("%d LINUX_VERSION_CODE\\n", LINUX_VERSION_CODE);\n' + "\n".join(lines) + "\n}\n"
    )
    program = source.with_suffix("")
    subprocess.run([compiler, "-o", program, source], check=True, capture_output=True, text=True)
    output = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    return {name: int(value) for value, _, name in (line.partition(" ") for line in output.splitlines())}


def header_version(compiled: dict[str, int]) -> tuple[int, int]:
    code = compiled["LINUX_VERSION_CODE"]
    return code >> 16, code >> 8 & 0xFF


def test_every_size_offset_and_number_is_the_headers(compiled: dict[str, int]) -> None:
    values, _ = expected()
    wrong = {name: (values[name], got) for name, got in compiled.items() if name in values and values[name] != got}
    assert wrong == {}


def test_only_newer_names_are_absent_from_the_header(compiled: dict[str, int]) -> None:
    if header_version(compiled) < LINUX_6_1:
        pytest.skip("the installed header is older than Linux 6.1")
    values, _ = expected()
    newer_tags = {c_name(cls) for cls in NEWER_STRUCTURES}
    absent = {name for name in values if name not in compiled and not any(tag in name for tag in newer_tags)}
    assert {name for name in absent if not NEWER_NAMES.fullmatch(name)} == set()


def test_every_ioctl_capability_and_exit_reason_of_linux_6_1_is_in_the_tables(compiled: dict[str, int]) -> None:
    if header_version(compiled) != LINUX_6_1:
        pytest.skip("the installed header is not that of Linux 6.1")
    text = HEADER.read_text().replace("\\\n", "")
    numbers = set(re.findall(r"^#define KVM_(\w+)\s+(?:_IOW?R?\(|__KVM_DEPRECATED)", text, re.MULTILINE))
    caps = set(re.findall(r"^#define KVM_CAP_(\w+)\s", text, re.MULTILINE))
    for found, table in ((numbers, ioctls.Ioctl), (caps, capabilities.Cap)):
        missing = {name for name in found if name not in table.__members__ and not OTHER_ARCHITECTURES.search(name)}
        assert missing == set()


def test_ioctl_names_are_not_aliases() -> None:
    assert len(list(ioctls.Ioctl)) == len(ioctls.Ioctl.__members__)
