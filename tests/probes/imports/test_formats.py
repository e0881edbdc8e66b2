"""Each format: what it holds comes out, what it does not hold is unknown with the reason."""

from __future__ import annotations

import pytest

from tests.probes.imports.samples import (
    CPUID_RAW,
    CPUINFO,
    DMAR,
    FACP,
    INSTLATX64,
    SAMPLES,
    SSDT,
    XSDT,
    acpi_table,
    acpidump,
    dmidecode_bin,
    structure,
)
from virtproof.probes.ask import Answers, ask
from virtproof.probes.imports.formats import FORMATS, recognise
from virtproof.probes.imports.merge import Dump, import_dumps
from virtproof.probes.snapshot import Snapshot, dumps, loads
from virtproof.spec.fault import Fault


def take(*contents: bytes | str, form: str | None = None) -> Snapshot:
    data = [content.encode() if isinstance(content, str) else content for content in contents]
    return import_dumps([Dump(f"file {number}", one) for number, one in enumerate(data)], form)


def answers(*contents: bytes | str) -> Answers:
    return ask(take(*contents))


def reason(found: Answers, fact: str) -> str:
    answer = found[fact].answer
    assert found[fact].value is None, answer
    return answer.reason  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognised_by_its_content_and_survives_the_file(name):
    assert recognise(SAMPLES[name]).name == name
    snapshot = take(SAMPLES[name])
    assert loads(dumps(snapshot)) == snapshot
    assert [dump["format"] for dump in snapshot["imported"]["dumps"]] == [name]


def test_windows_line_ends_change_nothing():
    for text in (INSTLATX64, CPUID_RAW, CPUINFO):
        unix, windows = take(text), take(text.replace("\n", "\r\n"))
        assert {**unix, "imported": 0, "taken": 0} == {**windows, "imported": 0, "taken": 0}


def test_registers_of_each_cpu():
    snapshot = take(INSTLATX64)
    assert snapshot["cpus"] == "0-1"
    assert snapshot.cpuid(1) == [
        ((0x306A9, 0x100800, 0x7FBAE3FF, 0xBFEBFBFF), "0"),
        ((0x306A9, 0x1100800, 0x7FBAE3FF, 0xBFEBFBFF), "1"),
    ]
    assert snapshot.cpuid(4, 1) == [((0x1C004122, 0x1C0003F, 0x3F, 0), "0")]
    assert snapshot.msr(0x3A) == [(5, "0"), (1, "1")]


def test_what_lies_beyond_the_highest_leaf_is_left_out():
    assert take(INSTLATX64).cpuid(0x8000_0002) == []
    assert take(CPUID_RAW).cpuid(0x2000_0000) == []
    assert take(CPUID_RAW).cpuid(0x4000_0000) == [], "without the hypervisor bit it is an echo"
    virtual = CPUID_RAW.replace("ecx=0x7efa320b", "ecx=0xfefa320b")
    assert len(take(virtual).cpuid(0x4000_0000)) == 1


def test_a_leaf_that_the_dump_leaves_out_is_unknown_and_one_beyond_the_highest_is_off():
    found = answers(INSTLATX64.replace("CPUID 00000001: 000306A9-011", "CPUID 00000009: 000306A9-011"))
    assert "does not list it" in reason(found, "vmx.cpuid")
    one_cpu = INSTLATX64.partition("------[ CPUID Registers / Logical CPU #1")[0]
    assert answers(one_cpu).value("cpu.smep") is True
    without = one_cpu.replace("CPUID 00000007", "CPUID 00000009")
    assert "does not list it" in reason(answers(without), "cpu.smep")
    assert answers(without.replace("00000007-756E", "00000006-756E")).value("cpu.smep") is False
    announced = one_cpu.replace("CPUID 00000007: 00000000", "CPUID 00000007: 00000001")
    assert take(announced).obstacle("cpuid", "00000007.01", 0)


def test_no_extended_range_is_a_no_only_where_the_processor_can_be_that_old():
    old = "CPUID 00000000: 00000001-756E6547-6C65746E-49656E69\nCPUID 00000001: 00000517-00000000-00000000-000001BF\n"
    assert answers(old).value("cpu.nx") is False
    assert "does not list it" in reason(answers(old.replace("CPUID 00000001", "CPUID 00000002")), "cpu.nx")
    assert "does not list it" in reason(answers(INSTLATX64.partition("CPUID 8000")[0]), "cpu.nx")


def test_msrs_unread_left_out_or_not_listed():
    snapshot = take(INSTLATX64)
    assert "could not read" in str(snapshot.obstacle("msr", "0x491", 0))
    assert "does not list" in str(snapshot.obstacle("msr", "0x491", 1))
    assert "identifies the processor" in str(snapshot.obstacle("msr", "0x4f", 0))
    assert "9abc" not in dumps(snapshot), "the processor's serial number is no part of a snapshot"
    assert "CPU 1" in reason(ask(snapshot), "ept.control")


def test_msrs_listed_once_hold_for_cpus_that_are_alike():
    text = INSTLATX64.replace("MSR Registers / Logical CPU #0", "MSR Registers").partition("------[ MSR Registers / ")[
        0
    ]
    alike = take(text)
    assert alike.msr(0x48B) == [(0x82_0000_0000, "0-1")]
    assert list(alike["msr"]["how"].values()) == ["0-1"]
    assert "names no CPU" in next(iter(alike["msr"]["how"]))
    assert ask(alike).value("ept.control") is True
    differ = take(text.replace("000306A9-0110", "000906EA-0110"))
    assert differ.msr(0x48B) == [(0x82_0000_0000, "0")]
    assert "CPU 1" in reason(ask(differ), "ept.control")


@pytest.mark.parametrize(
    ("headings", "cpus"),
    [
        (("CPUID Registers (CPU #1):", "CPUID Registers (CPU #2 Virtual):"), "0-1"),
        (("CPUID Registers (CPU #1):", "CPUID Registers (CPU #1 Virtual):"), "0-1"),
        (("CPU#000 AffMask: 0x0000000000000001", "CPU#007 AffMask: 0x80"), "0,7"),
        (("Group: 0x00 Affinity mask: 0x1", "Group: 0x01 Affinity mask: 0x0000000000000004"), "0,66"),
        (("------[ Logical CPU #0 ]------", "------[ Logical CPU #1 ]------"), "0-1"),
        (("", ""), "0-1"),
    ],
)
def test_every_way_to_mark_a_cpu(headings, cpus):
    lines = "CPUID 00000000: 00000001-756E6547-6C65746E-49656E69\nCPUID 00000001\t000306A9-0-0-0\n"
    assert take("\n".join(f"{heading}\n{lines}" for heading in headings))["cpus"] == cpus


def test_subleaves_without_a_number_follow_one_another():
    leaf = "CPUID 00000004  \t1C00412{}-01C0003F-0000003F-00000000\n"
    text = "CPUID 00000000: 0000000D-756E6547-6C65746E-49656E69\n" + leaf.format(1) + leaf.format(2)
    text += "CPUID 0000000D: 00000007-00000240-00000340-00000000\n" * 2
    snapshot = take(text)
    assert snapshot.cpuid(4, 1)[0][0][0] == 0x1C004122
    assert snapshot.cpuid(0xD, 1) == [], "subleaves of 0xD have gaps: which one it was cannot be told"


def test_one_cpu_alone_is_not_taken_for_the_whole_host():
    alone = "CPU:\n" + CPUID_RAW.partition("CPU 1:")[0].partition("\n")[2]
    assert "need not name all" in reason(answers(alone), "cpu.count")
    assert answers(CPUID_RAW).value("cpu.count") == 2


def test_acpi_tables_as_text_and_as_they_lie_in_memory_are_the_same():
    text, binary = take(acpidump(FACP, DMAR, SSDT, SSDT)), take(FACP + DMAR, SSDT + SSDT)
    assert text["acpi"] == binary["acpi"]
    assert text["acpi"]["names"] == ["DMAR", "FACP", "SSDT1", "SSDT2"]
    assert set(text["acpi"]["tables"]) == {"DMAR", "FACP"}
    assert text["acpi"]["tables"]["DMAR"]["checksum"] == "ok"
    assert ask(text).value("dmar.intr_remap") is True


def test_a_table_is_absent_only_where_the_dump_is_whole():
    assert answers(acpidump(FACP, DMAR)).value("dmar.table") is True
    assert "nothing shows" in reason(answers(acpidump(FACP, DMAR)), "ivrs.table")
    assert answers(acpidump(XSDT, FACP, DMAR, SSDT, SSDT)).value("ivrs.table") is False
    assert answers(XSDT, FACP, DMAR + SSDT, SSDT).value("ivrs.table") is False, "over several files"
    assert "nothing shows" in reason(answers(acpidump(XSDT, FACP, DMAR, SSDT)), "ivrs.table")


@pytest.mark.parametrize("text", [
    acpidump(DMAR).replace("0010:", "0020:"), acpidump(DMAR) + "    0040: 00  .\n", acpidump(DMAR) * 300,
])  # fmt: skip
def test_acpidumps_that_cannot_be_right(text):
    with pytest.raises(Fault):
        take(text)


def test_the_length_of_a_binary_table_is_not_believed():
    with pytest.raises(Fault, match="known formats"):
        take(DMAR[:-1])
    with pytest.raises(Fault, match="no ACPI table at byte"):
        take(DMAR + b"JUNK")
    assert take(acpi_table("DMAR", bytes(100_000)))["acpi"]["tables"]["DMAR"]["checksum"].startswith("not checked")


def test_makers_and_models_come_from_smbios_and_serial_numbers_do_not():
    snapshot = take(dmidecode_bin())
    assert snapshot.paths() == {
        "/sys/class/dmi/id/bios_vendor": "Maker of BIOS",
        "/sys/class/dmi/id/bios_version": "1.2.3",
        "/sys/class/dmi/id/bios_date": "01/02/2024",
        "/sys/class/dmi/id/sys_vendor": "Maker",
        "/sys/class/dmi/id/product_name": "Model 7",
        "/sys/class/dmi/id/board_vendor": "Board maker",
        "/sys/class/dmi/id/board_name": "Board 9",
    }
    assert [one["type"] for one in snapshot["smbios"]["structures"]] == [0, 1, 2]
    assert snapshot["smbios"]["version"] == "3.4"
    assert snapshot["smbios"]["unread"] == []
    assert "SERIAL" not in dumps(snapshot)
    assert bytes(range(16)).hex() not in dumps(snapshot), "the UUID"


@pytest.mark.parametrize(("anchor", "address", "size"), [(b"_SM_", 24, 22), (b"_DMI_", 8, 6)])
def test_older_entry_points(anchor, address, size):
    table = structure(0, bytes([1, 2, 0, 0, 3]), b"Old", b"7", b"1999") + structure(127, b"")
    entry = bytearray(anchor.ljust(32, b"\0"))
    entry[size : size + 2] = len(table).to_bytes(2, "little")
    entry[address : address + 4] = (32).to_bytes(4, "little")
    assert take(bytes(entry) + table).text("/sys/class/dmi/id/bios_vendor") == "Old"


def test_damaged_smbios_is_refused():
    whole = dmidecode_bin()
    far = bytearray(whole)
    far[16:24] = (1 << 40).to_bytes(8, "little")
    short = bytearray(whole)
    short[33] = 3  # the length of the first structure
    for data in (bytes(far), bytes(short), whole[:60], whole[:33]):
        with pytest.raises(Fault):
            take(data)


def test_cpuinfo_and_lscpu_of_one_host_are_united():
    snapshot = take(CPUINFO, SAMPLES["lscpu"])
    assert snapshot.cpuinfo("flags") == [("fpu nx svm npt", "0-1")]
    assert snapshot.cpuinfo("microcode") == [("0xa101148", "0-1")]
    assert snapshot.text("/sys/devices/system/cpu/vulnerabilities/spectre_v2") == (
        "Mitigation: Retpolines; STIBP disabled"
    )
    assert "does not show it" in reason(answers(SAMPLES["lscpu"]), "cpu.microcode")


def test_translated_lscpu_is_refused_with_the_way_out():
    with pytest.raises(Fault, match="LC_ALL=C"):
        take(SAMPLES["lscpu"].replace(b"On-line", b"Liste"))


def test_all_parts_make_one_snapshot():
    snapshot = take(CPUID_RAW, acpidump(FACP, DMAR), dmidecode_bin(), CPUINFO, SAMPLES["lscpu"])
    found = ask(snapshot)
    assert found.value("svm.cpuid") is True
    assert found.value("cpu.microcode") == "0xa101148"
    assert found.value("dmar.table") is True
    assert found.value("dmi.bios_vendor") == "Maker of BIOS"
    assert found.value("cpu.count") == 2
    assert "imported from other tools' dumps (cpuid, acpidump, dmidecode, cpuinfo, lscpu)" in reason(
        found, "iommu.intr_remap"
    )
    assert "file " not in dumps(snapshot), "the names of files may be those of hosts"


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ((INSTLATX64, CPUINFO), "vendor_id"),
        ((CPUID_RAW, CPUINFO.replace(": 17", ": 18")), "model is 18 in one, 17 in another"),
        ((CPUID_RAW, CPUINFO.partition("processor\t: 1")[0]), "different CPUs: 0-1 and 0"),
        ((CPUINFO, SAMPLES["lscpu"].replace(b"fpu nx", b"fpu")), "flags"),
        ((CPUID_RAW, INSTLATX64), "do not agree on cpuid"),
        ((dmidecode_bin(), dmidecode_bin().replace(b"Model 7", b"Model 8")), "product_name"),
    ],
)
def test_dumps_of_different_hosts_are_refused(contents, words):
    with pytest.raises(Fault, match=words):
        take(*contents)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"hello\n", b"{}", b"\xff\xfe" * 40])
def test_what_is_no_dump_is_refused(content):
    with pytest.raises(Fault, match="known: CPUID dump"):
        take(content)


def test_a_file_that_could_be_two_things_needs_a_word():
    both = INSTLATX64 + CPUINFO
    with pytest.raises(Fault, match="name the format"):
        take(both)
    assert "cpuinfo" not in take(both, form="instlatx64")


@pytest.mark.parametrize("form", FORMATS)
def test_a_wrong_format_named_is_an_error_and_no_empty_snapshot(form):
    other = SAMPLES["lscpu" if form != "lscpu" else "cpuinfo"]
    with pytest.raises(Fault):
        take(other, form=form)
