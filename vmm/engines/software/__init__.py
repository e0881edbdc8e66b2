"""The software engine: guests run by binary translation, where there is no /dev/kvm.

Unicorn (the translator of QEMU) executes instructions.  What it leaves out is done here: delivery of exceptions and
interrupts, MSRs, checks of privileged instructions, fast system calls, debug registers.  ``conformance.limits`` names
the rules that it cannot carry out.
"""

from virtproof.vmm.engines.software.engine import SoftwareEngine, SoftwareVm
from virtproof.vmm.engines.software.layout import SoftwareUnavailable
from virtproof.vmm.engines.software.vcpu import SoftwareVcpu

__all__ = ["SoftwareEngine", "SoftwareUnavailable", "SoftwareVcpu", "SoftwareVm"]
