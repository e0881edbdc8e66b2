"""A guest of a few bytes in 64-bit mode, without the walk of a table: for host scripts that run the vCPU themselves."""

from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode, start_state
from virtproof.vmm.machine import Machine
from virtproof.vmm.registers import Registers


def start(machine: Machine, code: bytes, **registers: int) -> Registers:
    """Prepare the first vCPU to run ``code`` with the trampoline's tables; return the registers it starts with."""
    image = images.load(Mode.LONG64.value)
    machine.memory.load(image["image"], image.data)
    machine.memory.load(image["kernel_code"], code)
    machine.vcpu.set_special_registers(start_state(Mode.LONG64, image, machine.vcpu.special_registers()))
    at = Registers(rip=image["kernel_code"], rsp=image["kernel_stack_top"], **registers)
    machine.vcpu.set_registers(at)
    return at
