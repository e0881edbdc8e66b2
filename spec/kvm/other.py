"""Structures for guests of Xen, Hyper-V and SEV, and for ioctls that are numbered but no longer served."""

from __future__ import annotations

from virtproof.spec.kvm.layout import Struct, Union, each, s32, u8, u16, u32, u64


class UserTraceSetup(Struct):
    _fields_ = (("buf_size", u32), ("buf_nr", u32))


class Breakpoint(Struct):
    _fields_ = (("enabled", u32), ("padding", u32), ("address", u64))


class DebugGuest(Struct):
    _fields_ = (("enabled", u32), ("pad", u32), ("breakpoints", Breakpoint * 4), ("singlestep", u32))


class AssignedPciDev(Struct):
    _fields_ = (
        *each(u32, "assigned_dev_id busnr devfn flags segnr"),
        ("reserved", u32 * 11),
    )


class AssignedIrq(Struct):
    _fields_ = (*each(u32, "assigned_dev_id host_irq guest_irq flags"), ("reserved", u32 * 12))


class AssignedMsixNr(Struct):
    _fields_ = (("assigned_dev_id", u32), ("entry_nr", u16), ("padding", u16))


class AssignedMsixEntry(Struct):
    _fields_ = (("assigned_dev_id", u32), ("gsi", u32), ("entry", u16), ("padding", u16 * 3))


class HypervEventfd(Struct):
    _fields_ = (("conn_id", u32), ("fd", s32), ("flags", u32), ("padding", u32 * 3))


class XenHvmConfig(Struct):
    _fields_ = (
        ("flags", u32),
        ("msr", u32),
        ("blob_addr_32", u64),
        ("blob_addr_64", u64),
        ("blob_size_32", u8),
        ("blob_size_64", u8),
        ("pad2", u8 * 30),
    )


class XenHvmAttr(Struct):
    class U(Union):
        class SharedInfo(Struct):
            _fields_ = (("gfn", u64),)

        class Evtchn(Struct):
            class Deliver(Union):
                class Port(Struct):
                    _fields_ = (("port", u32), ("vcpu", u32), ("priority", u32))

                class Eventfd(Struct):
                    _fields_ = (("port", u32), ("fd", s32))

                _fields_ = (("port", Port), ("eventfd", Eventfd), ("padding", u32 * 4))

            _fields_ = (("send_port", u32), ("type", u32), ("flags", u32), ("deliver", Deliver))

        _fields_ = (
            ("long_mode", u8),
            ("vector", u8),
            ("shared_info", SharedInfo),
            ("evtchn", Evtchn),
            ("xen_version", u32),
            ("pad", u64 * 8),
        )

    _fields_ = (("type", u16), ("pad", u16 * 3), ("u", U))


class XenVcpuAttr(Struct):
    class U(Union):
        class Runstate(Struct):
            _fields_ = each(u64, "state state_entry_time time_running time_runnable time_blocked time_offline")

        class Timer(Struct):
            _fields_ = (("port", u32), ("priority", u32), ("expires_ns", u64))

        _fields_ = (
            ("gpa", u64),
            ("pad", u64 * 8),
            ("runstate", Runstate),
            ("vcpu_id", u32),
            ("timer", Timer),
            ("vector", u8),
        )

    _fields_ = (("type", u16), ("pad", u16 * 3), ("u", U))


class SevCmd(Struct):
    _fields_ = (("id", u32), ("data", u64), ("error", u32), ("sev_fd", u32))
