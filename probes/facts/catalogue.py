"""All facts, in the order people read them."""

from virtproof.probes.fact import Fact
from virtproof.probes.facts import confidential, iommu, kernel, platform, processor, readiness, svm, vmx

ALL_FACTS: tuple[Fact, ...] = (
    *processor.FACTS,
    *vmx.FACTS,
    *svm.FACTS,
    *confidential.FACTS,
    *kernel.FACTS,
    *iommu.FACTS,
    *platform.FACTS,
    *readiness.FACTS,
)
