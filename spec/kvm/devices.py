"""Structures of interrupts, timers and devices inside the kernel: <linux/kvm.h>, x86 <asm/kvm.h>."""

from __future__ import annotations

from virtproof.spec.kvm.layout import Struct, Union, each, s16, s32, s64, u8, u16, u32, u64

IOAPIC_NUM_PINS = 24
APIC_REG_SIZE = 0x400


class IrqLevel(Struct):
    _fields_ = (("irq", u32), ("level", u32))


class PicState(Struct):
    _fields_ = each(
        u8,
        "last_irr irr imr isr priority_add irq_base read_reg_select poll special_mask init_state auto_eoi "
        "rotate_on_auto_eoi special_fully_nested_mode init4 elcr elcr_mask",
    )


class IoapicState(Struct):
    _fields_ = (
        ("base_address", u64),
        ("ioregsel", u32),
        ("id", u32),
        ("irr", u32),
        ("pad", u32),
        ("redirtbl", u64 * IOAPIC_NUM_PINS),
    )


class Irqchip(Struct):
    class Chip(Union):
        _fields_ = (("dummy", u8 * 512), ("pic", PicState), ("ioapic", IoapicState))

    _fields_ = (("chip_id", u32), ("pad", u32), ("chip", Chip))


class LapicState(Struct):
    _fields_ = (("regs", u8 * APIC_REG_SIZE),)


class IrqRoutingIrqchip(Struct):
    _fields_ = (("irqchip", u32), ("pin", u32))


class IrqRoutingMsi(Struct):
    _fields_ = (("address_lo", u32), ("address_hi", u32), ("data", u32), ("devid", u32))


class IrqRoutingHvSint(Struct):
    _fields_ = (("vcpu", u32), ("sint", u32))


class IrqRoutingXenEvtchn(Struct):
    _fields_ = (("port", u32), ("vcpu", u32), ("priority", u32))


class IrqRoutingEntry(Struct):
    class U(Union):
        _fields_ = (
            ("irqchip", IrqRoutingIrqchip),
            ("msi", IrqRoutingMsi),
            ("hv_sint", IrqRoutingHvSint),
            ("xen_evtchn", IrqRoutingXenEvtchn),
            ("pad", u32 * 8),
        )

    _fields_ = (("gsi", u32), ("type", u32), ("flags", u32), ("pad", u32), ("u", U))


class IrqRouting(Struct):
    """Header; ``nr`` times IrqRoutingEntry follow."""

    _fields_ = (("nr", u32), ("flags", u32))


class Irqfd(Struct):
    _fields_ = (("fd", u32), ("gsi", u32), ("flags", u32), ("resamplefd", u32), ("pad", u8 * 16))


class Ioeventfd(Struct):
    _fields_ = (
        ("datamatch", u64),
        ("addr", u64),
        ("len", u32),
        ("fd", s32),
        ("flags", u32),
        ("pad", u8 * 36),
    )


class Msi(Struct):
    _fields_ = (
        ("address_lo", u32),
        ("address_hi", u32),
        ("data", u32),
        ("flags", u32),
        ("devid", u32),
        ("pad", u8 * 12),
    )


class PitChannelState(Struct):
    _fields_ = (
        ("count", u32),
        ("latched_count", u16),
        *each(u8, "count_latched status_latched status read_state write_state write_latch"),
        *each(u8, "rw_mode mode bcd gate"),
        ("count_load_time", s64),
    )


class PitState(Struct):
    _fields_ = (("channels", PitChannelState * 3),)


class PitState2(Struct):
    _fields_ = (("channels", PitChannelState * 3), ("flags", u32), ("reserved", u32 * 9))


class PitConfig(Struct):
    _fields_ = (("flags", u32), ("pad", u32 * 15))


class ReinjectControl(Struct):
    _fields_ = (("pit_reinject", u8), ("reserved", u8 * 31))


class ClockData(Struct):
    _fields_ = (
        ("clock", u64),
        ("flags", u32),
        ("pad0", u32),
        ("realtime", u64),
        ("host_tsc", u64),
        ("pad", u32 * 4),
    )


class CreateDevice(Struct):
    _fields_ = (("type", u32), ("fd", u32), ("flags", u32))


class DeviceAttr(Struct):
    _fields_ = (("flags", u32), ("group", u32), ("attr", u64), ("addr", u64))


class EnableCap(Struct):
    _fields_ = (("cap", u32), ("flags", u32), ("args", u64 * 4), ("pad", u8 * 64))


class PmuEventFilter(Struct):
    """Header; ``nevents`` times u64 follow."""

    _fields_ = (
        ("action", u32),
        ("nevents", u32),
        ("fixed_counter_bitmap", u32),
        ("flags", u32),
        ("pad", u32 * 4),
    )


class StatsHeader(Struct):
    _fields_ = each(u32, "flags name_size num_desc id_offset desc_offset data_offset")


class StatsDesc(Struct):
    """Header; ``StatsHeader.name_size`` bytes of name follow."""

    _fields_ = (
        ("flags", u32),
        ("exponent", s16),
        ("size", u16),
        ("offset", u32),
        ("bucket_size", u32),
    )
