"""What a machine is made of, in words: for evidence, and so that nothing that was changed goes unseen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Description:
    """Engine and backend, vCPUs, memory as (address, size, backing), interrupts, and every change to CPUID."""

    engine: str
    backend: str
    vcpus: int
    memory: tuple[tuple[int, int, str], ...]
    interrupts: str
    cpuid_masks: tuple[str, ...] = ()
    cpuid_overrides: tuple[str, ...] = ()
    cpuid_not_taken: tuple[str, ...] = ()  # what the kernel made of them in spite

    def __str__(self) -> str:
        lines = [
            f"engine {self.engine}, backend {self.backend}",
            f"{self.vcpus} vCPU{'s' * (self.vcpus > 1)}, interrupts: {self.interrupts}",
            *(f"memory {gpa:#x}..{gpa + size - 1:#x} ({backing})" for gpa, size, backing in self.memory),
            *(f"CPUID masked: {mask}" for mask in self.cpuid_masks),
            *(f"CPUID changed: {override}" for override in self.cpuid_overrides),
            *(f"CPUID as the backend has it: {text}" for text in self.cpuid_not_taken),
        ]
        return "\n".join(lines)
