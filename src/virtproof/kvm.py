"""The /dev/kvm system handle, shared by the probes and the monitor.

Linux Documentation/virt/kvm/api.rst, "The Definitive KVM (Kernel-based Virtual Machine) API Documentation".
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from virtproof.spec.fault import Fault
from virtproof.spec.kvm import API_VERSION, Cap, Ioctl

if TYPE_CHECKING:
    from pathlib import Path

    from virtproof.results import Backend  # slow to import, and few who open the device ask whose it is

DEVICE = "/dev/kvm"

Cause = Literal[
    "kvm-device-missing",
    "kvm-no-permission",
    "kvm-busy",
    "kvm-api-version",
    "kvm-capability-missing",
    "kvm-error",
]

# What the monitor cannot do without.
REQUIRED = (Cap.USER_MEMORY, Cap.IMMEDIATE_EXIT, Cap.EXT_CPUID)

MAX_CPUID_ENTRIES = 1024  # KVM's own limit is 256
MAX_MSRS = 4096  # a kernel lists a few hundred


class KvmUnavailable(Fault):
    """/dev/kvm cannot be used; ``cause`` is the id of the named cause."""

    def __init__(self, cause: Cause, tried: str, saw: str, remedy: str) -> None:
        super().__init__(tried, saw, remedy)
        self.cause = cause

    def __reduce__(self) -> tuple[type[Self], tuple[str, ...]]:
        return type(self), (self.cause, self.tried, self.saw, self.remedy)


class KvmError(Fault):
    """An ioctl of KVM failed; ``errno`` is the kernel's answer, ``number`` the ioctl."""

    def __init__(self, number: Ioctl, code: int) -> None:
        self.number, self.errno = number, code
        cause, remedy = LIKELY.get((number, code)) or LIKELY.get((None, code)) or ("", "see the kernel log (dmesg)")
        saw = f"{errno.errorcode.get(code, code)} ({os.strerror(code)})"
        super().__init__(f"ioctl KVM_{number.name}", f"{saw}: {cause}" if cause else saw, remedy)

    def __reduce__(self) -> tuple[type[Self], tuple[Ioctl, int]]:
        return type(self), (self.number, self.errno)


# What an error most likely means, and what to do about it; the ioctl's own row comes before the general one.
# fmt: off
LIKELY: dict[tuple[Ioctl | None, int], tuple[str, str]] = {
    (Ioctl.CREATE_VM, errno.EBUSY):               ("another hypervisor holds the processor's virtualization extensions",
                                                   "stop it (VirtualBox, VMware, Xen) or unload its kernel module"),
    (Ioctl.CREATE_VM, errno.EIO):                 ("the processor refused to enable its virtualization extensions",
                                                   "enable VT-x or AMD-V in the firmware set-up; see dmesg"),
    (Ioctl.SET_USER_MEMORY_REGION, errno.EEXIST): ("the slot overlaps another slot",
                                                   "place it elsewhere, or delete the other slot first"),
    (Ioctl.SET_USER_MEMORY_REGION, errno.EINVAL): ("address or size not a multiple of 4096, slot number too high, or a "
                                                   "slot's size or read-only flag changed in place",
                                                   "delete the slot and create it anew"),
    (Ioctl.SET_SREGS, errno.EINVAL):              ("KVM rejects this combination of control registers and segments",
                                                   "compare CR0.PG, CR4.PAE, EFER.LME and CS.L with the mode wanted"),
    (Ioctl.SET_CPUID2, errno.E2BIG):              ("too many CPUID entries", "KVM accepts at most 256"),
    (Ioctl.SET_CPUID2, errno.EINVAL):             ("KVM rejects this CPUID table, or the vCPU has already run",
                                                   "set CPUID before the first run"),
    (Ioctl.CREATE_VCPU, errno.EEXIST):            ("this VM already has a vCPU of that index", "use another index"),
    (Ioctl.CREATE_VCPU, errno.EINVAL):            ("the vCPU index is beyond what this kernel allows",
                                                   "ask KVM_CAP_MAX_VCPU_ID"),
    (Ioctl.CREATE_IRQCHIP, errno.EEXIST):         ("this VM already has an interrupt controller", "create it once"),
    (Ioctl.CREATE_IRQCHIP, errno.EINVAL):         ("the VM already has vCPUs",
                                                   "create the interrupt controller before the first vCPU"),
    (Ioctl.IRQ_LINE, errno.ENXIO):                ("this VM has no interrupt controller in the kernel",
                                                   "create the machine with one"),
    (Ioctl.GET_DIRTY_LOG, errno.ENOENT):          ("this slot does not exist or does not log dirty pages",
                                                   "map it with log_dirty"),
    (Ioctl.GET_DIRTY_LOG, errno.ENXIO):           ("this VM logs to dirty rings", "collect them from its vCPUs"),
    (Ioctl.CLEAR_DIRTY_LOG, errno.ENOENT):        ("this slot does not exist or does not log dirty pages",
                                                   "map it with log_dirty"),
    (Ioctl.CLEAR_DIRTY_LOG, errno.EINVAL):        ("first page or count not a multiple of 64, or beyond the slot",
                                                   "clear whole words of the bitmap; only the last may be cut short"),
    (Ioctl.RESET_DIRTY_RINGS, errno.EINVAL):      ("this VM has no dirty rings", "enable them before the first vCPU"),
    (Ioctl.ENABLE_CAP, errno.EINVAL):             ("the capability comes too late, or its argument is not taken",
                                                   "enable it before the first vCPU and the first slot"),
    (Ioctl.ENABLE_CAP, errno.EEXIST):             ("too late: this VM has vCPUs or an interrupt controller",
                                                   "enable it when the VM is new"),
    (Ioctl.CREATE_PIT2, errno.EEXIST):            ("this VM already has a timer", "create it once"),
    (Ioctl.CREATE_PIT2, errno.ENOENT):            ("this VM has no interrupt controller in the kernel",
                                                   "create the interrupt controller first"),
    (Ioctl.CREATE_PIT2, errno.EINVAL):            ("this VM has no interrupt controller in the kernel",
                                                   "create the interrupt controller first"),
    (Ioctl.SET_GSI_ROUTING, errno.EINVAL):        ("a route names a pin or a controller that this VM does not have",
                                                   "route to MSIs, or create the interrupt controller in the kernel"),
    (Ioctl.IRQFD, errno.EBUSY):                   ("this eventfd already raises a line", "use one eventfd a line"),
    (Ioctl.IRQFD, errno.EINVAL):                  ("no interrupt controller in the kernel, or no such line",
                                                   "create the machine with one, route the line, then attach"),
    (Ioctl.IOEVENTFD, errno.EEXIST):              ("this address and value already signal an eventfd",
                                                   "detach that first"),
    (Ioctl.IOEVENTFD, errno.ENOENT):              ("no eventfd is attached at this address and value",
                                                   "detach with the arguments that attached it"),
    (Ioctl.IOEVENTFD, errno.EINVAL):              ("length not 0, 1, 2, 4 or 8, or the range wraps round",
                                                   "attach one naturally sized access"),
    (Ioctl.IOEVENTFD, errno.ENOSPC):              ("this VM has as many devices in the kernel as it may",
                                                   "detach others first (KVM allows about 1000)"),
    (Ioctl.SIGNAL_MSI, errno.EINVAL):             ("no local APIC in the kernel takes this message",
                                                   "create the machine with an interrupt controller"),
    (Ioctl.SIGNAL_MSI, errno.ENXIO):              ("no local APIC in the kernel takes this message",
                                                   "create the machine with an interrupt controller"),
    (Ioctl.INTERRUPT, errno.ENXIO):               ("this VM has an interrupt controller in the kernel",
                                                   "raise a line or send a message instead"),
    (Ioctl.INTERRUPT, errno.EEXIST):              ("an interrupt is queued already", "wait for the interrupt window"),
    (Ioctl.INTERRUPT, errno.EINVAL):              ("a vector is 0 to 255", "use one of those"),
    (Ioctl.SET_MP_STATE, errno.EINVAL):           ("without a local APIC in the kernel a vCPU is always runnable",
                                                   "create the machine with an interrupt controller"),
    (Ioctl.GET_LAPIC, errno.EINVAL):              ("this vCPU has no local APIC in the kernel",
                                                   "create the machine with an interrupt controller"),
    (Ioctl.SET_LAPIC, errno.EINVAL):              ("no local APIC in the kernel, or its id is not this vCPU's",
                                                   "restore the state on a machine made as the one that was saved"),
    (Ioctl.GET_IRQCHIP, errno.ENXIO):             ("this VM has no interrupt controller in the kernel",
                                                   "create the machine with one"),
    (Ioctl.SET_IRQCHIP, errno.ENXIO):             ("this VM has no interrupt controller in the kernel",
                                                   "create the machine with one"),
    (Ioctl.SET_GUEST_DEBUG, errno.EINVAL):        ("this kind of debugging is not offered here",
                                                   "ask KVM_CAP_SET_GUEST_DEBUG2"),
    (Ioctl.SET_GUEST_DEBUG, errno.EBUSY):         ("an exception of the guest is still to be delivered",
                                                   "run the vCPU once more first"),
    (Ioctl.X86_SET_MSR_FILTER, errno.EINVAL):     ("too many or too long ranges, or unknown flags",
                                                   "KVM takes 16 ranges of at most 12288 MSRs"),
    (Ioctl.SET_XCRS, errno.EINVAL):               ("XCR0 has a component that this vCPU's CPUID does not offer",
                                                   "set CPUID first, the same as when the state was saved"),
    (Ioctl.SET_XSAVE, errno.EINVAL):              ("the state has components or MXCSR bits that are not offered here",
                                                   "restore on a host with the same features"),
    (Ioctl.SET_VCPU_EVENTS, errno.EINVAL):        ("an event that this kernel or machine does not know",
                                                   "restore on the same kernel and machine"),
    (Ioctl.SET_CLOCK, errno.EINVAL):              ("flags that this kernel does not know", "restore on a newer kernel"),
    (Ioctl.SET_TSC_KHZ, errno.EINVAL):            ("this processor cannot scale the time stamp counter",
                                                   "use a host of the same frequency"),
    (Ioctl.RUN, errno.EFAULT):                    ("the guest used memory that is no longer mapped, or of another kind",
                                                   "keep guest memory mapped while the guest runs"),
    (Ioctl.RUN, errno.EINVAL):                    ("the vCPU's state cannot be run", "compare its registers and CPUID"),
    (Ioctl.GET_STATS_FD, errno.ENOTTY):           ("this kernel has no binary statistics", "use Linux 5.14 or newer"),
    (None, errno.ENOMEM):                         ("out of memory", "free memory, or raise the cgroup's limit"),
    (None, errno.EMFILE):                         ("this process has too many open files", "raise ulimit -n"),
    (None, errno.ENFILE):                         ("the system has too many open files", "raise fs.file-max"),
    (None, errno.ENOTTY):                         ("this kernel does not know this ioctl", "use a newer kernel"),
    (None, errno.EIO):                            ("KVM has marked the VM as broken", "see the kernel log (dmesg)"),
    (None, errno.EPERM):                          ("not permitted here", "check the sandbox, LSM or seccomp policy"),
    (None, errno.EFAULT):                         ("KVM could not reach the memory it was given",
                                                   "check that guest memory is still mapped"),
}
# fmt: on


def ioctl(fd: int, number: Ioctl, argument: int | bytes | bytearray = 0) -> int:
    """Call one ioctl of KVM; a bytearray receives what the kernel writes.  Raises KvmError.

    An integer may use all 32 bits: ``fcntl.ioctl`` takes a C int, so 2**31 and above are passed in signed form.
    """
    try:
        if isinstance(argument, int):
            argument -= argument >> 31 << 32
        elif isinstance(argument, bytes):
            argument = bytearray(argument)  # fcntl.ioctl returns a number for mutable arguments only
        answer: int = fcntl.ioctl(fd, number, argument)
        return answer
    except OSError as err:
        raise KvmError(number, err.errno or 0) from err


class CapabilityMissing(Fault):
    """This kernel does not offer the capability ``cap``."""

    def __init__(self, cap: Cap, tried: str) -> None:
        self.cap = cap
        super().__init__(
            tried, f"this kernel does not offer KVM_CAP_{cap.name}", "use another way, or a kernel that has it"
        )

    def __reduce__(self) -> tuple[type[Self], tuple[Cap, str]]:
        return type(self), (self.cap, self.tried)


def enable_cap(fd: int, cap: Cap, tried: str, *arguments: int) -> None:
    """Enable a capability of a VM or vCPU.  Raises CapabilityMissing, or Fault where the kernel refuses.

    ``tried`` says to a person what it is for.
    """
    try:
        if not ioctl(fd, Ioctl.CHECK_EXTENSION, cap):
            raise CapabilityMissing(cap, tried)
        ioctl(fd, Ioctl.ENABLE_CAP, _ENABLE_CAP.pack(cap, *arguments, *[0] * (4 - len(arguments))))
    except KvmError as err:
        raise Fault(f"{tried} (KVM_CAP_{cap.name})", err.saw, err.remedy) from err


_ENABLE_CAP = struct.Struct("<I4x4Q64x")


@dataclass(frozen=True, slots=True)
class CpuidEntry:
    """One row of KVM's CPUID table; ``flags`` is a ``spec.kvm.CpuidFlag``."""

    function: int
    index: int
    flags: int
    eax: int
    ebx: int
    ecx: int
    edx: int


_CPUID_VALUES = attrgetter(*(f.name for f in fields(CpuidEntry)))
_CPUID_ENTRY = struct.Struct("<7I12x")
_CPUID_HEADER = struct.Struct("<I4x")
_MSR_ENTRY = struct.Struct("<I4xQ")


def pack_cpuid(entries: Iterable[CpuidEntry]) -> bytes:
    """Return a ``struct kvm_cpuid2`` with its entries."""
    rows = [_CPUID_ENTRY.pack(*_CPUID_VALUES(entry)) for entry in entries]
    return _CPUID_HEADER.pack(len(rows)) + b"".join(rows)


class Kvm:
    """An open /dev/kvm.  Use it as a context manager."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.vcpu_mmap_size = 0

    @classmethod
    def open(cls, path: str = DEVICE) -> Self:
        """Open the device and check that it is one we can use.  Raises KvmUnavailable."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as err:
            raise _cannot_open(path, err) from err
        kvm = cls(fd)
        try:
            kvm._check(path)
        except BaseException:
            kvm.close()
            raise
        return kvm

    def _check(self, path: str) -> None:
        try:
            version = self.api_version()
        except KvmError as err:
            raise KvmUnavailable(
                "kvm-error",
                f"ask {path} for its API version",
                err.saw,
                f"{path} is not the KVM device; see ls -l {path}",
            ) from err
        if version != API_VERSION:
            raise KvmUnavailable(
                "kvm-api-version",
                f"ask {path} for its API version",
                f"it speaks version {version}, and virtproof {API_VERSION}",
                "use Linux 2.6.22 or newer with its own kvm module",
            )
        missing = [f"KVM_CAP_{cap.name}" for cap in REQUIRED if not self.check_extension(cap)]
        if missing:
            raise KvmUnavailable(
                "kvm-capability-missing",
                f"ask {path} for its capabilities",
                f"this kernel lacks {', '.join(missing)}",
                "use Linux 4.12 or newer",
            )
        self.vcpu_mmap_size = ioctl(self.fd, Ioctl.GET_VCPU_MMAP_SIZE)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def api_version(self) -> int:
        return ioctl(self.fd, Ioctl.GET_API_VERSION)

    def check_extension(self, cap: Cap) -> int:
        """Return 0 where the capability is missing, else KVM's answer: 1, or a number whose meaning depends on it."""
        return ioctl(self.fd, Ioctl.CHECK_EXTENSION, cap)

    def supported_cpuid(self) -> tuple[CpuidEntry, ...]:
        """Return the CPUID table that KVM can give a guest on this host."""
        return self._cpuid(Ioctl.GET_SUPPORTED_CPUID)

    def emulated_cpuid(self) -> tuple[CpuidEntry, ...]:
        """Return what KVM can emulate for a guest though the processor does not have it."""
        return self._cpuid(Ioctl.GET_EMULATED_CPUID)

    def _cpuid(self, number: Ioctl) -> tuple[CpuidEntry, ...]:
        count = 128
        while True:
            table = bytearray(_CPUID_HEADER.pack(count) + bytes(count * _CPUID_ENTRY.size))
            try:
                ioctl(self.fd, number, table)
            except KvmError as err:
                if err.errno != errno.E2BIG or count >= MAX_CPUID_ENTRIES:
                    raise
                count *= 2
                continue
            (count,) = _CPUID_HEADER.unpack_from(table)
            rows = memoryview(table)[_CPUID_HEADER.size :][: count * _CPUID_ENTRY.size]
            return tuple(CpuidEntry(*row) for row in _CPUID_ENTRY.iter_unpack(rows))

    def msr_index_list(self) -> tuple[int, ...]:
        """Return the MSRs that KVM_GET_MSRS and KVM_SET_MSRS know."""
        return self._indices(Ioctl.GET_MSR_INDEX_LIST)

    def msr_feature_index_list(self) -> tuple[int, ...]:
        """Return the MSRs whose values describe the host's features: ``feature_msrs`` reads them."""
        return self._indices(Ioctl.GET_MSR_FEATURE_INDEX_LIST)

    def _indices(self, number: Ioctl) -> tuple[int, ...]:
        count = 512
        while True:
            table = bytearray(struct.pack("<I", count) + bytes(count * 4))
            try:
                ioctl(self.fd, number, table)
            except KvmError as err:
                if err.errno != errno.E2BIG or count >= MAX_MSRS:
                    raise
                count *= 2
                continue
            (count,) = struct.unpack_from("<I", table)
            return struct.unpack_from(f"<{count}I", table, 4)

    def feature_msrs(self, indices: Iterable[int]) -> dict[int, int]:
        """Read feature MSRs from the system handle; one that KVM refuses is absent from the answer."""
        values = {}
        for index in indices:
            entry = bytearray(_CPUID_HEADER.pack(1) + _MSR_ENTRY.pack(index, 0))
            # One at a time: KVM stops at the first that it refuses.
            if _read_one(self.fd, entry):
                values[index] = _MSR_ENTRY.unpack_from(entry, _CPUID_HEADER.size)[1]
        return values

    def create_vm(self) -> int:
        """Return the descriptor of a new VM; the caller closes it."""
        while True:
            try:
                return ioctl(self.fd, Ioctl.CREATE_VM)
            except KvmError as err:
                if err.errno == errno.EINTR:  # a signal arrived while the kernel was registering notifiers
                    continue
                if err.errno == errno.EBUSY:
                    raise KvmUnavailable("kvm-busy", err.tried, err.saw, err.remedy) from err
                raise


def _read_one(fd: int, entry: bytearray) -> bool:
    try:
        return ioctl(fd, Ioctl.GET_MSRS, entry) == 1
    except KvmError:
        return False


def _cannot_open(path: str, err: OSError) -> KvmUnavailable:
    tried = f"open {path}"
    code = err.errno
    if code in {errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR}:
        return KvmUnavailable(
            "kvm-device-missing",
            tried,
            os.strerror(code),
            "load kvm_intel or kvm_amd (modprobe); if that fails, enable VT-x or AMD-V in the firmware set-up; "
            "in a container, pass the device in",
        )
    if code in {errno.EACCES, errno.EPERM}:
        return KvmUnavailable("kvm-no-permission", tried, *_who_may(path))
    if code == errno.EBUSY:
        return KvmUnavailable("kvm-busy", tried, "another hypervisor is using it", "stop that hypervisor")
    return KvmUnavailable("kvm-error", tried, str(err.strerror or code), "see the kernel log (dmesg)")


def _who_may(path: str) -> tuple[str, str]:
    """Say whose the device is, and how this user gets in."""
    import grp  # noqa: PLC0415 -- needed on this path only
    import pwd  # noqa: PLC0415

    def named(number: int, names: dict[int, str]) -> str:
        return names.get(number, str(number))

    users = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    groups = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    me = named(os.geteuid(), users)
    try:
        status = os.stat(path)
    except OSError as err:
        return f"permission denied for user {me}", f"{path}: {err.strerror}; run as root"
    owner, group = named(status.st_uid, users), named(status.st_gid, groups)
    saw = (
        f"permission denied for user {me}: the device belongs to {owner}, group {group}, "
        f"mode {stat.S_IMODE(status.st_mode):04o}"
    )
    if status.st_mode & stat.S_IRGRP and status.st_mode & stat.S_IWGRP:
        if status.st_gid in {os.getegid(), *os.getgroups()}:
            return saw, "the group may open it and you are in it: check the container's device policy, LSM or seccomp"
        return saw, f"join the group and log in again: sudo usermod -aG {group} {me}; or run as root"
    return saw, f"the group has no access: sudo chgrp kvm {path} && sudo chmod 660 {path}; or run as root"


# Module, whether its guests run in software, why.
# fmt: off
MODULES = (
    ("kvm_pvm",   True,  "it runs guests without hardware virtualization: an emulator interprets their kernel mode"),
    ("kvm_intel", False, "it runs guests by VT-x"),
    ("kvm_amd",   False, "it runs guests by AMD-V"),
)
# fmt: on


def identify_backend(root: str = "/") -> Backend:
    """Say which module is behind /dev/kvm, and how that is known.  Reads files below ``root`` only.

    A module that is built in shows in /sys/module even where it found no hardware, so several may show: then the
    processor's flags decide between VT-x and AMD-V.  Their absence decides nothing: Linux has several reasons to clear
    them.
    """
    from pathlib import Path  # noqa: PLC0415 -- slow to import, and few ask

    from virtproof.results import Backend  # noqa: PLC0415 -- as above

    base = Path(root)
    if not (base / "dev/kvm").exists():
        return Backend(engine="none", name="none", software=None, detail="/dev/kvm does not exist")
    found = [row for row in MODULES if (base / "sys/module" / row[0]).is_dir()]
    if len(found) == 1:
        name, software, why = found[0]
        return Backend(engine="kvm", name=name, software=software, detail=f"/sys/module/{name} exists; {why}")
    if not found:
        known = ", ".join(name for name, _, _ in MODULES)
        detail = f"/dev/kvm exists, but none of {known} is in /sys/module"
        return Backend(engine="kvm", name="unknown", software=None, detail=detail)
    names = [name for name, _, _ in found]
    flags = _cpu_flags(base / "proc/cpuinfo")
    for name, flag in (("kvm_intel", "vmx"), ("kvm_amd", "svm")):
        if "kvm_pvm" not in names and name in names and flag in flags:
            detail = f"/sys/module has {', '.join(names)}; the processor has {flag}"
            return Backend(engine="kvm", name=name, software=False, detail=detail)
    detail = f"several modules may own /dev/kvm: {', '.join(names)} in /sys/module"
    return Backend(engine="kvm", name="unknown", software=None, detail=detail)


def _cpu_flags(path: Path) -> frozenset[str]:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.partition(":")[2].split())
