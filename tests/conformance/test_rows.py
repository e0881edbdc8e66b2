"""The tables of cases: what a reader sees in them is what runs, and every case can fail."""

import csv
import re
import tomllib
from collections import Counter
from pathlib import Path

import capstone
import pytest

from virtproof import conformance
from virtproof.conformance.case import Case, Program, Row
from virtproof.conformance.catalogue import AREAS, all_cases
from virtproof.conformance.encode import SELECTORS, encode
from virtproof.conformance.features import FEATURES
from virtproof.guest_payloads import images
from virtproof.guest_payloads.trampoline import Mode

CASES = all_cases()
ROWS = [case for case in CASES if isinstance(case, Row)]
BITS = {
    Mode.REAL16: capstone.CS_MODE_16,
    Mode.VM86: capstone.CS_MODE_16,
    Mode.PROT16: capstone.CS_MODE_16,
    Mode.PROT32: capstone.CS_MODE_32,
    Mode.PSE32: capstone.CS_MODE_32,
    Mode.PAE32: capstone.CS_MODE_32,
    Mode.COMPAT32: capstone.CS_MODE_32,
    Mode.LONG64: capstone.CS_MODE_64,
}
RULES_CALL_IT = {Mode.PSE32: "2-level"}
NOT_AN_INSTRUCTION = "(bad)"
# Areas of which every rule of priority 1 and 2 has a case, or a reason.
COMPLETE = (
    "bus",
    "claims",
    "cpuid",
    "dma",
    "e1000",
    "firmware",
    "hostile",
    "interrupts",
    "irq_routing",
    "isolation",
    "mmio",
    "modes",
    "msr",
    "paging",
    "pio",
    "privileged",
    "rtc_pm",
    "scsi_lsi",
    "scsi_pvscsi",
    "second_level",
    "sensitive",
    "serial",
    "smp",
    "timers",
    "traps",
    "virtio",
    "vmxnet3",
)
OMITTED = {
    row["id"]: row["reason"]
    for row in tomllib.loads((Path(conformance.__path__[0]) / "omitted.toml").read_text())["omitted"]
}


def of(cases: list[Row] | tuple[Case, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.id for case in cases])


def disassemble(code: bytes, mode: Mode, offset: int) -> tuple[str, int]:
    """Text and length of the first instruction; targets of jumps are offsets in the row's code."""
    for insn in capstone.Cs(capstone.CS_ARCH_X86, BITS[mode]).disasm(code, offset, 1):
        return f"{insn.mnemonic} {insn.op_str}".strip(), insn.size
    return NOT_AN_INSTRUCTION, len(code)


def test_there_are_cases_of_every_area_package() -> None:
    assert {case.area for case in CASES} == set(AREAS)


def test_ids_are_unique() -> None:
    assert [id_ for id_, n in Counter(case.id for case in CASES).items() if n > 1] == []


@of(CASES)
def test_case_says_what_it_is(case: Case) -> None:
    assert case.title.strip()
    assert case.cite
    assert all(cite.doc.strip() and cite.where.strip() for cite in case.cite)
    assert case.priority in (1, 2, 3)
    assert set(case.requires) <= set(FEATURES)
    assert case.proves or not case.discriminates


@of(ROWS)
def test_instructions_are_what_their_text_says(case: Row) -> None:
    offset = 0
    for insn in case.code:
        assert disassemble(insn.code, case.mode, offset) == (insn.text, len(insn.code))
        offset += len(insn.code)


@of(ROWS)
def test_row_fits_into_the_table(case: Row) -> None:
    encode(case, images.load(case.mode.value))


@of(ROWS)
def test_row_runs_at_a_level_that_its_mode_has(case: Row) -> None:
    assert (case.mode, case.ring) in SELECTORS


@of(ROWS)
def test_row_judges_more_than_completing(case: Row) -> None:
    """A vector with its instruction pointer, a stop, or for code that completes: what it left behind."""
    expect = case.expect
    if expect.vector is None and expect.stop is None:
        assert expect.keeps or expect.regs or expect.memory or expect.accesses is not None or case.serial_output
    if expect.stop is not None:
        judged = (expect.vector, expect.error_code, expect.cr2, expect.frame, expect.accesses, case.serial_output)
        assert all(field is None for field in judged), "nothing but the stop is judged"


def test_programs_have_images_and_report() -> None:
    for case in CASES:
        if isinstance(case, Program):
            assert case.image in images.RECIPES
            assert case.observations


class TestCatalogue:
    """Against the table of rules that the cases were written from, where it is at hand."""

    @pytest.fixture
    def rules(self) -> dict[str, dict[str, str]]:
        for parent in Path(__file__).resolve().parents:
            folder = parent / "shared" / "catalogue"
            if folder.is_dir():
                found: dict[str, dict[str, str]] = {}
                for name in ("cpu.csv", "devices.csv"):
                    with (folder / name).open(newline="") as file:
                        found |= {rule["id"]: rule for rule in csv.DictReader(file)}
                return found
        pytest.skip("no catalogue beside the repository")

    def test_known_ids_mean_the_same(self, rules: dict[str, dict[str, str]]) -> None:
        """A case with a rule's id is of its area, mode and level."""
        differ = []
        for case in CASES:
            rule = rules.get(case.id)
            if rule is None:
                continue
            mode = rule.get("mode", "")
            if rule["area"] != case.area:
                differ.append(f"{case.id}: area {case.area}, not {rule['area']}")
            elif isinstance(case, Row) and mode:
                if RULES_CALL_IT.get(case.mode, case.mode) not in mode:
                    differ.append(f"{case.id}: mode {case.mode}, not {mode}")
                if (
                    case.ring == 3
                    and case.mode is not Mode.VM86
                    and not re.search("ring ?3|CPL ?3", " ".join(rule.values()))
                ):
                    differ.append(f"{case.id}: ring 3, which the rule does not speak of")
        assert differ == []

    def test_new_ids_belong_to_a_known_group(self, rules: dict[str, dict[str, str]]) -> None:
        """A case may go beyond the rules, beside those of its group."""
        groups = {tuple(id_.split(".")[:2]) for id_ in rules}
        assert [case.id for case in CASES if tuple(case.id.split(".")[:2]) not in groups] == []

    @pytest.mark.parametrize("area", COMPLETE)
    def test_every_rule_that_matters_has_a_case_or_a_reason(self, rules: dict[str, dict[str, str]], area: str) -> None:
        covered = {id_ for case in CASES for id_ in (case.id, *case.refs)} | OMITTED.keys()
        wanted = {id_ for id_, rule in rules.items() if rule["area"] == area and rule["priority"] in ("1", "2")}
        assert sorted(wanted - covered) == []

    def test_what_is_omitted_is_a_rule(self, rules: dict[str, dict[str, str]]) -> None:
        assert sorted(OMITTED.keys() - rules.keys()) == []


def test_a_reason_that_names_our_tests_names_one_that_there_is() -> None:
    """Of a folder it would say little: nobody could look whether it is true."""
    root = Path(__file__).parents[2]
    for reason in OMITTED.values():
        for file, name in re.findall(r"(tests/[\w/]*(?:\.py)?)(?:::(\w+))?", reason):
            assert (root / file).is_file(), reason
            assert re.search(rf"^ *def {name}\(", (root / file).read_text(), re.MULTILINE) if name else False, reason


def test_what_is_omitted_has_a_reason_and_no_case() -> None:
    assert all(reason.strip() for reason in OMITTED.values())
    assert not OMITTED.keys() & {case.id for case in CASES}
