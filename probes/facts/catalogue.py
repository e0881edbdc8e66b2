"""All facts, in the order people read them."""

from virtproof.probes.fact import Fact
from virtproof.probes.facts import (
    confidential,
    iommu,
    kernel,
    kvm,
    memory_protection,
    platform,
    processor,
    readiness,
    sev,
    speculation,
    svm,
    svm_capabilities,
    uniformity,
    vmx,
    vmx_capabilities,
    vmx_controls,
    vmx_generation,
)

ALL_FACTS: tuple[Fact, ...] = (
    *processor.FACTS,
    *uniformity.FACTS,
    *vmx.FACTS,
    *vmx_generation.FACTS,
    *vmx_capabilities.FACTS,
    *vmx_controls.FACTS,
    *svm.FACTS,
    *svm_capabilities.FACTS,
    *sev.FACTS,
    *confidential.FACTS,
    *speculation.FACTS,
    *memory_protection.FACTS,
    *kernel.FACTS,
    *kvm.FACTS,
    *iommu.FACTS,
    *platform.FACTS,
    *readiness.FACTS,
)
