"""Control, flag and debug registers, paging entries, descriptors and exceptions, against known values."""

import ctypes

import pytest

from virtproof.spec.x86.control import Cr0, Cr3, Cr3Pcid, Cr4, Efer
from virtproof.spec.x86.debug import DR6_RESET, DR7_RESET, BreakLength, BreakOn, Dr6, Dr7
from virtproof.spec.x86.descriptor import (
    Gate32,
    Gate64,
    SegmentDescriptor,
    SegmentType,
    Selector,
    SystemDescriptor64,
    SystemType64,
    Tss32,
    Tss64,
)
from virtproof.spec.x86.exception import (
    EXCEPTIONS,
    DoubleFaultClass,
    Kind,
    PageFaultErrorCode,
    SelectorErrorCode,
    Vector,
    makes_double_fault,
)
from virtproof.spec.x86.flags import ARITHMETIC, Rflags
from virtproof.spec.x86.paging import (
    Entry64,
    Linear32,
    Linear64,
    LinearPae,
    PaePdpte,
    Page1G,
    Page2M,
    Page4K,
    Pde4M,
    Pde32,
    Pte32,
    Table64,
    is_canonical,
)


def test_cr0_of_a_running_linux() -> None:
    assert repr(Cr0(0x80050033)) == "Cr0(pe=0x1 mp=0x1 et=0x1 ne=0x1 wp=0x1 am=0x1 pg=0x1)"
    assert repr(Cr0(0x60000010)) == "Cr0(et=0x1 nw=0x1 cd=0x1)"  # after reset


def test_cr4_and_efer_of_a_running_linux() -> None:
    cr4 = Cr4(0x003706F0)
    assert {f.name for f in cr4.shown()} == {
        *("pse", "pae", "mce", "pge", "osfxsr", "osxmmexcpt"),
        *("fsgsbase", "pcide", "osxsave", "smep", "smap"),
    }
    assert cr4.reserved == 0
    assert repr(Efer(0xD01)) == "Efer(sce=0x1 lme=0x1 lma=0x1 nxe=0x1)"
    assert Efer(0x1D01).svme


def test_cr3_in_both_forms() -> None:
    assert Cr3(0x0000_0001_2345_6018).base << 12 == 0x1_2345_6000
    assert Cr3(0x18).pwt
    assert Cr3(0x18).pcd
    assert Cr3Pcid(0x1_2345_6018).pcid == 0x018


def test_rflags() -> None:
    assert repr(Rflags(0x246)) == "Rflags(one=0x1 pf=0x1 zf=0x1 if_=0x1)"
    assert Rflags(0x3002).iopl == 3
    assert ARITHMETIC == 0x8D5


def test_debug_registers() -> None:
    assert Dr6(0xFFFF4FF0).bs
    assert DR6_RESET.rtm
    assert DR6_RESET.bld
    assert not DR6_RESET.bs
    watch = DR7_RESET.but(l0=1, rw0=BreakOn.WRITE, len0=BreakLength.FOUR)
    assert watch == 0x000D0401
    assert Dr7(0x400).one


def test_flat_segments_of_a_boot_loader() -> None:
    code32 = SegmentDescriptor(0x00CF9A000000FFFF)
    assert (code32.base, code32.limit, code32.dpl) == (0, 0xFFFFFFFF, 0)
    assert code32.type == SegmentType.CODE_READ
    assert code32.db
    code64 = SegmentDescriptor(0x00AF9B000000FFFF)
    assert code64.l
    assert not code64.db
    made = SegmentDescriptor.at(0, 0xFFFFF, type=SegmentType.DATA_WRITE_ACCESSED, s=1, p=1, dpl=3, db=1, g=1)
    assert made == 0x00CFF3000000FFFF
    odd = SegmentDescriptor.at(0x12345678, 0x0FFFF, type=3, s=1)
    assert (odd.base, odd.limit) == (0x12345678, 0xFFFF)
    with pytest.raises(ValueError, match="base_31_24"):
        SegmentDescriptor.at(1 << 32, 0)
    with pytest.raises(ValueError, match="limit_19_16"):
        SegmentDescriptor.at(0, 1 << 20)


def test_system_descriptor_of_16_bytes() -> None:
    tss = SystemDescriptor64.at(0xFFFF_FE00_0000_3000, 0x67, type=SystemType64.TSS_AVAILABLE, p=1)
    assert tss.base == 0xFFFF_FE00_0000_3000
    low, high = int(tss) & (1 << 64) - 1, int(tss) >> 64
    assert low == 0x0000_8900_3000_0067
    assert high == 0x0000_0000_FFFF_FE00


def test_gates() -> None:
    gate = Gate64.to(0x10, 0xFFFF_FFFF_8160_0A10, type=SystemType64.INTERRUPT_GATE, p=1, ist=2)
    assert gate.offset == 0xFFFF_FFFF_8160_0A10
    assert int(gate) & (1 << 64) - 1 == 0x8160_8E02_0010_0A10
    assert int(gate) >> 64 == 0xFFFF_FFFF
    assert Gate32.to(8, 0x00101234, type=14, p=1, dpl=3) == 0x0010_EE00_0008_1234
    assert Gate32(0x0010_EE00_0008_1234).offset == 0x00101234


def test_selector() -> None:
    assert repr(Selector(0x33)) == "Selector(rpl=0x3 index=0x6)"
    assert Selector(0x0F).ti


def test_task_state_segments_have_the_hardware_s_offsets() -> None:
    assert ctypes.sizeof(Tss32) == ctypes.sizeof(Tss64) == 104
    assert (Tss64.rsp0.offset, Tss64.ist1.offset, Tss64.ist7.offset, Tss64.io_map_base.offset) == (4, 36, 84, 102)
    tss32 = {"esp0": 4, "ss0": 8, "ss2": 24, "cr3": 28, "eip": 32, "eflags": 36, "eax": 40, "edi": 68, "es": 72}
    tss32 |= {"gs": 92, "ldt": 96, "trap": 100, "io_map_base": 102}
    assert {name: getattr(Tss32, name).offset for name in tss32} == tss32


def test_paging_entries() -> None:
    assert repr(Pte32(0x12345067)) == "Pte32(p=0x1 rw=0x1 us=0x1 a=0x1 d=0x1 frame=0x12345)"
    big = Pde4M(0x00C000E3 | 1 << 13)
    assert (big.ps, big.frame << 22, big.high) == (True, 0x00C00000, 1)
    assert Pde4M(1 << 21).reserved == 1 << 21
    assert Pde32(0x5007).pt == 5
    assert Page2M(0x8000_0000_4020_00E3).frame << 21 == 0x4020_0000
    assert Page2M(0x8000_0000_4020_00E3).xd
    assert Page2M(1 << 13).reserved == 1 << 13
    assert Page1G(0x4000_0083).frame << 30 == 0x4000_0000
    assert Page4K(0x7 << 59).pk == 7
    assert Table64(0x1067).table << 12 == 0x1000
    assert PaePdpte(0x1007).reserved == 0b110
    assert issubclass(Page4K, Entry64)


def test_linear_addresses() -> None:
    address = Linear64(0xFFFF_8000_0040_3ABC)
    assert (address.pml4, address.directory_pointer, address.directory, address.table) == (256, 0, 2, 3)
    assert address.offset == 0xABC
    assert (Linear32(0xC0403ABC).directory, Linear32(0xC0403ABC).table) == (0x301, 3)
    assert (LinearPae(0xC0403ABC).directory_pointer, LinearPae(0xC0403ABC).directory) == (3, 2)


@pytest.mark.parametrize(
    ("address", "width", "canonical"),
    [
        (0, 48, True),
        (0x0000_7FFF_FFFF_FFFF, 48, True),
        (0x0000_8000_0000_0000, 48, False),
        (0xFFFF_7FFF_FFFF_FFFF, 48, False),
        (0xFFFF_8000_0000_0000, 48, True),
        (0x0000_8000_0000_0000, 57, True),
        (0x0100_0000_0000_0000, 57, False),
        (0xFF00_0000_0000_0000, 57, True),
    ],
)
def test_canonical(address: int, width: int, canonical: bool) -> None:
    assert is_canonical(address, width) is canonical


def test_exceptions_that_push_an_error_code() -> None:
    pushing = {v.mnemonic for v, row in EXCEPTIONS.items() if row.pushes_error_code}
    assert pushing == {"#DF", "#TS", "#NP", "#SS", "#GP", "#PF", "#AC", "#CP", "#VC", "#SX"}
    assert set(EXCEPTIONS) == set(Vector)
    assert Vector.NMI.mnemonic == "NMI"
    assert {v for v, row in EXCEPTIONS.items() if row.kind is Kind.TRAP} == {Vector.BP, Vector.OF}
    assert {v for v, row in EXCEPTIONS.items() if row.kind is Kind.ABORT} == {Vector.DF, Vector.MC}


def test_double_fault_conditions() -> None:
    contributory = {v for v, r in EXCEPTIONS.items() if r.double_fault_class is DoubleFaultClass.CONTRIBUTORY}
    assert {Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP} <= contributory
    assert makes_double_fault(Vector.GP, Vector.NP)
    assert makes_double_fault(Vector.PF, Vector.GP)
    assert makes_double_fault(Vector.PF, Vector.PF)
    assert not makes_double_fault(Vector.GP, Vector.PF)
    assert not makes_double_fault(Vector.UD, Vector.GP)
    assert not makes_double_fault(Vector.PF, Vector.DB)


def test_error_codes() -> None:
    assert repr(PageFaultErrorCode(0x1B)) == "PageFaultErrorCode(p=0x1 w=0x1 rsvd=0x1 i=0x1)"
    code = SelectorErrorCode(0x20 << 3 | 2)
    assert code.idt
    assert code.index == 0x20
