"""The two controllers: what differs between parallel SCSI and SAS."""

from dataclasses import dataclass

from virtproof.spec import fusion_mpt as mpt
from virtproof.vmm.pci.function import Identity


@dataclass(frozen=True, slots=True)
class Model:
    """``phys`` is 0 for parallel SCSI; ``max_devices`` target numbers can be named."""

    name: bytes
    identity: Identity
    product: int
    port_type: int
    max_devices: int
    scsi_id: int
    phys: int = 0


MODELS = {
    "53c1030": Model(
        b"LSI53C1030",
        Identity(
            mpt.VENDOR, mpt.DEVICE_53C1030, mpt.CLASS, 1,
            subsystem_vendor=0x15AD, subsystem=0x1976, interrupt_pin=1,
        ),
        product=0x0104, port_type=mpt.PORT_SCSI, max_devices=16, scsi_id=7,
    ),
    "sas1068": Model(
        b"LSISAS1068",
        Identity(
            mpt.VENDOR, mpt.DEVICE_SAS1068, mpt.CLASS, 0,
            subsystem_vendor=0x1000, subsystem=0x8000, interrupt_pin=1,
        ),
        product=0x2102, port_type=mpt.PORT_SAS, max_devices=16, scsi_id=16, phys=8,
    ),
}  # fmt: skip
