"""A VM belongs to the process that made it, and goes with it.

The kernel refuses to run a vCPU in another address space than the VM's, however the descriptor got there.  A vCPU keeps
its VM alive when the VM's own descriptor is closed.  What a VM had is free again when it is gone, by SIGKILL too, and
nothing of it is found in the next one, which may get its tags in the translation caches.
"""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable
from ctypes import sizeof
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from virtproof.conformance.case import At, Case, HostScript, Insn, completes, family, pio_out
from virtproof.conformance.guest import HOST_PORT, Inapplicable, check, hosted
from virtproof.conformance.of_kvm import event, kvm_engine, kvm_vcpu, kvm_vm, signalled
from virtproof.conformance.plain_guest import enter
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode
from virtproof.kvm import DEVICE, KvmError, ioctl
from virtproof.results import Check
from virtproof.spec.cite import Cite, linux
from virtproof.spec.kvm import Ioctl
from virtproof.spec.kvm.run import Run
from virtproof.vmm.engine import Engine
from virtproof.vmm.exits import Halt
from virtproof.vmm.machine import Machine

LONG64 = Mode.LONG64
OWNER = linux("virt/kvm/api.rst", "'General description'")
LIFETIME = linux("virt/kvm/api.rst", "'File descriptors'")
SHARED = linux("virt/kvm/api.rst", "'The kvm_run structure'")
EVENTFD = linux("virt/kvm/api.rst", "KVM_IOEVENTFD")
row = family("isolation", LIFETIME, priority=2)

PORT = 0x1234
DATA = At("kernel_data")
VMS = 64
ALLOWED_GROWTH = 16 << 20  # bytes of memory that this process may have got from elsewhere meanwhile


def _close_vm(machine: Machine) -> None:
    kvm_vcpu(machine)
    vm = kvm_vm(machine)
    os.close(vm.fd)
    vm.fd = -1


# A process that knows nothing of us: it runs the vCPU whose descriptor it has inherited, and says what came of it.
RUN_IT = """
import fcntl, sys
try:
    fcntl.ioctl(int(sys.argv[1]), int(sys.argv[2]), 0)
    print(0)
except OSError as err:
    print(err.errno)
"""


def _other_process(engine: Engine) -> Iterable[Check]:
    with Machine(engine) as machine:
        fd = kvm_vcpu(machine).fd
        command = [sys.executable, "-I", "-S", "-c", RUN_IT, str(fd), str(int(Ioctl.RUN))]
        said = subprocess.run(command, pass_fds=(fd,), capture_output=True, timeout=30, check=False).stdout
    yield _refused("KVM_RUN in another process", int(said or -1))


def _child(engine: Engine) -> Iterable[Check]:
    with Machine(engine) as machine:
        fd = kvm_vcpu(machine).fd
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the child makes one system call and goes
            child = os.fork()
        if child == 0:
            try:
                ioctl(fd, Ioctl.RUN)
                os._exit(0)
            except KvmError as err:
                os._exit(err.errno)
            finally:
                os._exit(255)
        _, status = os.waitpid(child, 0)
    yield _refused("KVM_RUN in a forked child", os.waitstatus_to_exitcode(status))


def _refused(what: str, seen: int) -> Check:
    return Check(what, "EIO", errno.errorcode.get(seen, str(seen)), seen == errno.EIO)


# A process that makes a VM with a vCPU, names them, and sleeps.
MAKE_IT = """
import fcntl, os, sys, time
kvm = os.open(sys.argv[1], os.O_RDWR)
vm = fcntl.ioctl(kvm, int(sys.argv[2]), 0)
vcpu = fcntl.ioctl(vm, int(sys.argv[3]), 0)
print(vm, flush=True)
time.sleep(60)
"""
DEBUGFS = Path("/sys/kernel/debug/kvm")


def _killed(engine: Engine) -> Iterable[Check]:
    """KVM's own folder of a VM is there while its process lives, and gone when it was killed."""
    engine = kvm_engine(engine)
    if not DEBUGFS.is_dir():
        raise Inapplicable(f"there is no {DEBUGFS}: debugfs is not mounted, or not for us")
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        MAKE_IT,
        DEVICE,
        str(int(Ioctl.CREATE_VM)),
        str(int(Ioctl.CREATE_VCPU)),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            vm = process.stdout.readline().decode().strip()
            folder = DEBUGFS / f"{process.pid}-{vm}"
            before = folder.is_dir()
        finally:
            process.kill()
    after = folder.is_dir()
    yield Check("the VM in debugfs", "there", "there" if before else "absent", before)
    yield Check("... after SIGKILL", "absent", "there" if after else "absent", not after)


LOAD = (Insn("48 8b 03", "mov rax, qword ptr [rbx]"), Insn("f4", "hlt"))


def _one_after_the_other(engine: Engine) -> Iterable[int]:
    """Many VMs; the guest of each loads from the same address, where only its own number is; what it loaded."""
    where = images.load("long64")["kernel_data"]
    for n in range(VMS):
        with Machine(engine) as machine:
            enter(machine, LOAD, rbx=where)
            machine.memory.write(where, (n + 1).to_bytes(8, "little"))
            end = machine.run(2.0)
            yield machine.vcpu.registers().rax if isinstance(end, Halt) else -1


def _tags(engine: Engine) -> Iterable[Check]:
    wrong = [n for n, value in enumerate(_one_after_the_other(engine), 1) if value != n]
    yield Check(f"VMs of {VMS} that loaded another's number", "none", " ".join(map(str, wrong)) or "none", not wrong)


def _leaks(engine: Engine) -> Iterable[Check]:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    list(_one_after_the_other(engine))  # what the first ones load and keep
    fds, memory = descriptors(), getrusage(RUSAGE_SELF).ru_maxrss * 1024
    list(_one_after_the_other(engine))
    now, grown = descriptors(), getrusage(RUSAGE_SELF).ru_maxrss * 1024 - memory
    yield Check(f"descriptors after {VMS} VMs", str(fds), str(now), fds == now)
    yield Check("memory", f"grows by less than {ALLOWED_GROWTH:#x}", f"{grown:#x}", grown < ALLOWED_GROWTH)


def _shared_page(engine: Engine) -> Iterable[Check]:
    """The mapping of a vCPU that has not run: zeros, but for the fields that the structure names."""
    engine = kvm_engine(engine)
    with Machine(engine) as machine, mmap.mmap(kvm_vcpu(machine).fd, engine.kvm.vcpu_mmap_size) as shared:
        content = shared[:]
    left = [at for at in range(sizeof(Run), len(content)) if content[at]]
    left += [at for at in range(Run.exit.offset, Run.exit.offset + Run.exit.size) if content[at]]
    yield Check("bytes that are not zero", "none", " ".join(map(hex, left[:16])) or "none", not left)


def _eventfd_of_another(engine: Engine) -> Iterable[Check]:
    """The first guest's eventfd waits at the port that the second writes to."""
    with event() as fd:
        with Machine(engine) as first:
            kvm_vm(first).attach_ioeventfd(fd, "pio", PORT, 1)
            out = completes(accesses=(pio_out(PORT, 1, 7),))
            yield from check(row("iso.ioeventfd_vm", "", LONG64, OUT, out, regs={"rax": 7, "rdx": PORT}), engine)
        yield signalled(fd, 0, "events of the first guest")


# fmt: off
OUT, STORE, READ = Insn("ee", "out dx, al"), Insn("48 89 3b", "mov qword ptr [rbx], rdi"), Insn("48 8b 33", "mov rsi, qword ptr [rbx]")


def script(id: str, title: str, run: Callable[[Engine], Iterable[Check]], cite: Cite) -> Case:  # noqa: A002
    return HostScript(id=id, title=title, area="isolation", mode=LONG64, cite=(cite,), script=run, priority=2, seconds=60.0)


CASES: tuple[Case, ...] = (
    hosted(row("iso.close_mid", "A vCPU runs on when its VM's descriptor is closed", LONG64, (STORE, OUT, READ),
               completes(regs={"rsi": 0x1122_3344_5566_7788}, memory={DATA: 0x1122_3344_5566_7788}),
               regs={"rax": 1, "rdx": HOST_PORT, "rbx": DATA, "rdi": 0x1122_3344_5566_7788}), calls={1: _close_vm}),
    script("iso.fork_child",   "A forked child may not run the vCPU",                    _child,               OWNER),
    script("iso.other_mm",     "Another process may not run the vCPU",                   _other_process,       OWNER),
    script("iso.kill",         "A VM is gone when its process was killed",               _killed,              LIFETIME),
    script("iso.vm_count",     "VMs one after the other leave nothing behind in this process", _leaks,         LIFETIME),
    script("iso.asid_reuse",   "VMs one after the other do not find each other's translations", _tags,         LIFETIME),
    script("iso.stack_scrub",  "The mapping of a new vCPU holds nothing of the kernel's", _shared_page,        SHARED),
    script("iso.ioeventfd_vm", "An ioeventfd waits for its own guest alone",             _eventfd_of_another,  EVENTFD),
)
# fmt: on
