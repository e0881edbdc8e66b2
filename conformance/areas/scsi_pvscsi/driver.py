"""A driver, polled and interrupt-driven.

The numbers are what the test of that name in guest_payloads/devices/scsi.h or pvscsi.c observes.  The driver places the
adapter itself where nobody has, and asks nothing of the host: it runs on any machine that has one.
"""

from functools import partial

from virtproof.conformance.case import Case
from virtproof.conformance.scsi_rig import SECTORS, driver_of
from virtproof.spec.cite import Cite
from virtproof.vmm.devices.pvscsi import PvScsi

driver = partial(
    driver_of("scsi_pvscsi", "pvscsi", Cite("VMware PVSCSI interface header (vmw_pvscsi.h)", "RingReqDesc")), PvScsi
)

# fmt: off
CASES: tuple[Case, ...] = (
    driver("pvscsi.drv.identity",   "The driver finds the adapter",                      "identity", (0x07C0_15AD, 0x01_0000, 1, 32 << 10)),
    driver("pvscsi.drv.capacity",   "The disk is ready, and so large",                   "capacity", (1, 0, SECTORS - 1, 512)),
    driver("pvscsi.drv.polled",     "What was written is read, one by one",              "polled", (40,)),
    driver("pvscsi.drv.batches",    "Sixteen requests with one kick",                    "batches", (64,)),
    driver("pvscsi.drv.scattered",  "Data from and into four pieces",                    "scattered", (1, 1, 0)),
    driver("pvscsi.drv.errors",     "Errors are told, and what follows goes well",       "errors", (2, 5, 0x21, 1, 1)),
    driver("pvscsi.drv.interrupts", "An interrupt for each completion, and none without", "interrupt_driven", (21, 20, 0)),
)
# fmt: on
