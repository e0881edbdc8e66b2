"""A driver, polled and interrupt-driven, of both controllers.

The numbers are what the test of that name in guest_payloads/devices/scsi.h or mpt.c observes.  The driver places the
controller itself where nobody has, and asks nothing of the host: it runs on any machine that has one.
"""

from functools import partial

from virtproof.conformance.case import Case
from virtproof.conformance.mpt_driver import mpi
from virtproof.conformance.scsi_rig import SECTORS, driver_of
from virtproof.vmm.devices.lsi_mpt import LsiMpt

of = driver_of("scsi_lsi", "mpt", mpi("SCSI IO"))
parallel, sas = (partial(of, partial(LsiMpt, model=model)) for model in ("53c1030", "sas1068"))

# fmt: off
CASES: tuple[Case, ...] = (
    parallel("lsi.drv.identity",    "The driver finds a 53C1030",                         "identity", (0x1000, 0x01_0000, 1, 1, 0)),
    sas("lsi.drv.identity_sas",     "The driver finds a SAS1068",                         "identity", (0x1000, 0x01_0000, 1, 1, 0)),
    parallel("lsi.drv.facts",       "Facts come through the doorbell",                    "facts", (0x0105, 0x0314, 1, 0x050A, 0)),
    sas("lsi.drv.facts_sas",        "Facts of a SAS1068",                                 "facts", (0x0105, 0x0314, 1, 0x050A, 0)),
    parallel("lsi.drv.capacity",    "The disk is ready, and so large",                    "capacity", (1, 0, SECTORS - 1, 512)),
    parallel("lsi.drv.polled",      "What was written is read, one by one",               "polled", (40,)),
    sas("lsi.drv.polled_sas",       "So with a SAS1068",                                  "polled", (40,)),
    parallel("lsi.drv.batches",     "Sixteen requests before the first is looked at",     "batches", (64,)),
    parallel("lsi.drv.scattered",   "Data from and into four pieces",                     "scattered", (1, 1, 0)),
    parallel("lsi.drv.errors",      "Errors are told, and what follows goes well",        "errors", (2, 5, 0x21, 1, 1)),
    parallel("lsi.drv.interrupts",  "An interrupt for each completion, and none without", "interrupt_driven", (21, 20, 0)),
    sas("lsi.drv.interrupts_sas",   "So with a SAS1068",                                  "interrupt_driven", (21, 20, 0)),
)
# fmt: on
