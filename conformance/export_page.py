"""What goes with a reproducer, a README.md above all: for work on the hypervisor without virtproof at hand."""

from __future__ import annotations

from collections.abc import Iterable

from virtproof.conformance.describe import before, code, expected
from virtproof.conformance.export import SHUTDOWN, Reproducer
from virtproof.guest_payloads import images
from virtproof.spec.guest_protocol import REPORT_PORT

KERNEL = "reproducer.elf"
BOCHS_HOST_MEMORY = 2048  # MiB: the most that Bochs allocates; the rest goes to a file

PAGE = """\
# {id}

{title}

{cites}

Mode: {mode}.

## The code

{code}
{before}
Expected:

{expected}
{unjudged}
## How to run it

`{kernel}` is a multiboot 1 kernel (32-bit ELF). It needs {memory} MiB of memory, a serial port at 0x3F8 or a debug
console at port 0xE9 to speak on, and nothing else.{needs}

QEMU with KVM (without: `-accel tcg -cpu max`):

    qemu-system-x86_64 -accel kvm -cpu host -m {memory} -nodefaults -display none -no-reboot \\
        -serial stdio -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel {kernel}

virtproof's own monitor:

    virtproof guest {kernel} --memory {memory}

Bochs, or any PC, from a CD image:

    mkdir -p iso/boot/grub
    cp {kernel} iso/boot
    printf 'set timeout=0\\nmenuentry reproducer {{\\n multiboot /boot/{kernel}\\n}}\\n' > iso/boot/grub/grub.cfg
    grub-mkrescue -o reproducer.iso iso
    echo continue | bochs -q -f bochsrc

(`continue` is for builds that start in Bochs's debugger.)

Another monitor: load it as multiboot says, or copy the one segment to {base:#x} and enter {entry:#x} in flat 32-bit
protected mode, paging and interrupts off. It expects nothing in EAX or EBX.

## What must be seen

{seen}

| | last line | exit code at port 0xF4 | status of QEMU |
|---|---|---|---|
{verdicts}

## What it does

It zeroes low memory, copies virtproof's guest to its place, goes over to the mode and enters the guest at `entry`. The
guest sets what is listed above, copies the code to `stimulus`, loads every register and enters the code; every vector
leads to `common`, which writes down what the processor saved. Then `report` compares and prints. The symbols are in the
file: `gdb {kernel}`, `break *stimulus`. Interrupts from the PICs are masked. Two 32-bit writes to port {port:#x} on the
way speak to virtproof's monitor; elsewhere nobody need answer.
"""

BOCHSRC = """\
display_library: rfb, options="timeout=0"
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
memory: guest={memory}, host={host}
cpu: model=corei7_skylake_x, reset_on_triple_fault=0, ignore_bad_msrs=0
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=reproducer.iso, status=inserted
boot: cdrom
port_e9_hack: enabled=1
log: bochs.log
"""

SEEN = """\
One line for each field, expected and observed value, `ok` or `WRONG`, and the verdict. When the last line is `running`,
the machine did not survive the code: that is a failure too."""
SEEN_SHUTDOWN = """\
The processor must enter the shutdown state (triple fault) behind the line `running`: a PC is reset by it, QEMU with
`-no-reboot` ends with status 0, KVM returns KVM_EXIT_SHUTDOWN."""


NOT_JUDGED = """
Not judged by the reproducer: that no access reaches the monitor.
"""


def bochsrc(made: Reproducer) -> str:
    """Return a configuration of Bochs that boots the CD image which the page tells how to make."""
    return BOCHSRC.format(memory=made.memory, host=min(made.memory, BOCHS_HOST_MEMORY))


def page(made: Reproducer) -> str:
    """Return the page as Markdown."""
    row, stub = made.row, images.load("reproducer")
    shutdown = row.expect.stop == SHUTDOWN
    needs = [f"{n.name} (CPUID {n.leaf:#x}.{n.subleaf}, {n.register.upper()} {n.mask:#x})" for n in made.needed]
    needs += made.conditions
    passed = ("passed", "running ...", "none", "0") if shutdown else ("passed", f"PASS {row.id}", "0", "1")
    verdicts = [passed, ("failed", f"FAIL {row.id}", "1", "3")]
    if made.needed:
        verdicts.append(("cannot be told", "SKIP: the processor has no ...", "2", "5"))
    setting = [*before(row)]
    return PAGE.format(
        id=row.id,
        title=row.title,
        cites="\n".join(f"- {cite}" for cite in row.cite),
        mode=f"{row.mode}, ring {row.ring}",
        code=_block(code(row)),
        before=f"\nSet before it runs:\n\n{_block(setting)}\n" if setting else "",
        expected=_block(expected(row)),
        unjudged=NOT_JUDGED if row.expect.accesses is not None else "",
        kernel=KERNEL,
        memory=made.memory,
        needs=f"\nThe processor must have {', '.join(needs)}." if needs else "",
        base=stub["image"],
        entry=stub["entry"],
        seen=SEEN_SHUTDOWN if shutdown else SEEN,
        verdicts="\n".join(f"| {meaning} | `{line}` | {out} | {qemu} |" for meaning, line, out, qemu in verdicts),
        port=REPORT_PORT,
    )


def _block(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
