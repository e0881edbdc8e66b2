"""Made-up runs, as four hosts would give them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from virtproof.results import (
    Backend,
    CaseResult,
    Check,
    ClaimResult,
    Evidence,
    FactAnswer,
    Finding,
    Host,
    Layer,
    Outcome,
    Proof,
    Run,
    Standing,
    Verdict,
)

SDM = "Intel SDM vol. 3A (325462-085), Interrupt and Exception Handling: 'Interrupt 0—Divide Error Exception (#DE)'"
APM = "AMD APM vol. 2, Exceptions and Interrupts: '#DE—Divide-by-Zero-Error Exception (Vector 0)'"
APM_SVM = "AMD APM vol. 2, Secure Virtual Machine: 'Enabling SVM'"

TITLES = (
    ("traps", "trap.de.div_zero.{}", "DIV r/m32 by 0 raises #DE as a fault"),
    ("traps", "trap.ud.ud2.{}", "UD2 raises #UD; the saved RIP is the instruction itself"),
    ("traps", "trap.gp.noncanonical_load.{}", "A load from a non-canonical address raises #GP(0)"),
    ("traps", "trap.db.single_step.{}", "TF traps after the next instruction; DR6.BS is set"),
    ("paging", "page.nx.fetch.{}", "A fetch from a page with XD set raises #PF with I/D set in the error code"),
    ("paging", "page.rsvd.pml4_ps.{}", "PS set in a PML4 entry raises #PF with RSVD set"),
    ("paging", "page.ad.dirty_on_write.{}", "The first write sets A and D in the leaf entry"),
    ("second_level", "slot.read_only.write_exits.{}", "A write to a read-only slot exits as MMIO"),
    ("pio", "pio.out.byte.{}", "OUT imm8, AL writes one byte"),
    ("pio", "pio.ins.rep.{}", "REP INSB reads each element and leaves RCX at 0"),
    ("serial", "serial.lsr.thre_after_reset.{}", "LSR reads THRE and TEMT set after reset"),
)
MODES = ("real16", "prot32", "pae32", "long64", "ring3")


def passing_case(area: str, name: str, title: str, mode: str) -> CaseResult:
    return CaseResult(
        id=name.format(mode),
        area=area,
        title=title,
        mode=mode,
        cite=(SDM, APM) if area == "traps" else (f"Intel SDM vol. 3A (325462-085), {area.title()}: '{title[:24]}'",),
        verdict=Verdict.PASS,
        checks=(
            Check("vector", "0 (#DE)", "0 (#DE)", True),
            Check("error code", "none", "none", True),
            Check("saved RIP", "0x0000000000008000", "0x0000000000008000", True),
            Check("RFLAGS.RF", "1", "1", True),
            Check("RAX", "0x0000000000000001", "0x0000000000000001", True),
        ),
        evidence=("8000: f7 f3  div ebx", "exit: KVM_EXIT_IO out 0xe9, 1 byte", "6 exits, 41 us"),
        seconds=0.0041,
    )


def passing_cases() -> list[CaseResult]:
    return [passing_case(*row, mode) for row in TITLES for mode in MODES]


FAIL = replace(
    passing_case("paging", "page.ad.dirty_on_write.{}", "The first write sets A and D in the leaf entry", "pae32"),
    verdict=Verdict.FAIL,
    reason="D is clear in the leaf entry after the write",
    checks=(
        Check("vector", "none", "none", True),
        Check("PTE.A", "1", "1", True),
        Check("PTE.D", "1", "0", False),
        Check("PTE", "0x8000000000200063", "0x8000000000200023", False),
    ),
    evidence=(
        "8000: c7 05 00 00 20 00 01 00 00 00  mov dword ptr [0x200000], 1",
        "PDPTE[0] = 0x0000000000003001",
        "PDE[1]   = 0x0000000000004023",
        "PTE[0]   = 0x8000000000200023  A=1 D=0",
    ),
)
CRASH = replace(
    passing_case("traps", "trap.bp.int3.{}", "INT3 raises #BP as a trap; the saved RIP is behind it", "long64"),
    verdict=Verdict.CRASH,
    reason="KVM internal error: KVM_INTERNAL_ERROR_EMULATION at RIP 0x8000 (cc)",
    checks=(),
    evidence=(
        "exit: KVM_EXIT_INTERNAL_ERROR suberror 1 (KVM_INTERNAL_ERROR_EMULATION)",
        "insn bytes: cc 90 90 f4",
        "8000: cc        int3",
        "8001: 90        nop",
        "RAX=0000000000000000 RBX=0000000000000000 RCX=0000000000000000 RDX=0000000000000000",
        "RIP=0000000000008000 RFL=0000000000000002 CS=0008 SS=0010 CR0=80000011 CR3=0000000000001000 CR4=00000020",
    ),
)
SKIP = replace(
    passing_case("paging", "page.la57.walk.{}", "Five-level walks translate bits 56:48", "long64"),
    verdict=Verdict.SKIP,
    reason="the host does not have LA57 (CPUID 0x7.0 ECX[16] = 0 on CPUs 0-63)",
    checks=(),
    evidence=(),
)
ERROR = replace(
    passing_case("serial", "serial.loopback.msr.{}", "Loopback feeds MCR outputs to MSR inputs", "long64"),
    verdict=Verdict.ERROR,
    reason="the worker was killed by signal 9",
    checks=(),
    evidence=(),
)

METAL = Host(
    vendor="AuthenticAMD",
    cpu="AMD EPYC 9354 32-Core Processor",
    family_model_stepping="25/17/1",
    cpus=64,
    microcode="0xa10113e",
    system="Dell Inc. PowerEdge R7615",
    bios="Dell Inc. 1.6.10 (12/08/2023)",
    kernel="Linux 6.1.0-18-amd64",
)
FACTS = (
    FactAnswer(id="cpu.vendor", meaning="processor maker", known="AuthenticAMD", source="CPUID 0x0"),
    FactAnswer(id="svm.present", meaning="SVM in silicon", known=True, source="CPUID 0x80000001 ECX[2], CPUs 0-63"),
    FactAnswer(id="svm.asids", meaning="address space identifiers", known=32768, source="CPUID 0x8000000a EBX"),
    FactAnswer(
        id="vm_cr.svmdis",
        meaning="SVM disabled by firmware",
        unknown="/dev/cpu/0/msr: Permission denied (run as root)",
        source="MSR 0xc0010114",
    ),
)


def counts(cases: list[CaseResult]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for case in cases:
        area = found.setdefault(case.area, {})
        area[case.verdict.value] = area.get(case.verdict.value, 0) + 1
    return found


def claim(name: str, title: str, **changes: object) -> ClaimResult:
    yes = ClaimResult(
        name=name,
        title=title,
        silicon=Layer.YES,
        firmware=Layer.YES,
        kernel=Layer.YES,
        functional=Layer.YES,
        cause=None,
        proof=Proof.PROVEN,
        proof_reason="the guest's walk was redirected and nothing exited",
        proof_cases=("page.ad.dirty_on_write.long64", "slot.read_only.write_exits.long64"),
        evidence=("silicon: CPUID 0x80000001 ECX = 0x75c237ff on CPUs 0-63", "kernel: /sys/module/kvm_amd present"),
        cite=(APM_SVM,),
    )
    return replace(yes, **changes)  # type: ignore[arg-type]


def finding(name: str, title: str, standing: Standing = Standing.MET, **changes: object) -> Finding:
    made = Finding(
        id=name,
        title=title,
        severity="critical",
        standing=standing,
        gates=True,
        evidence=("CPUID 0x80000001 ECX[2] = 1 on CPUs 0-63",),
        cite=(APM_SVM,),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def made_run(cases: list[CaseResult], **changes: object) -> tuple[Run, Evidence]:
    failing = tuple(c for c in cases if c.verdict in {Verdict.FAIL, Verdict.CRASH, Verdict.ERROR})
    run = Run(
        version="0.1.0",
        started="2025-11-22T10:24:07Z",
        seconds=4.213,
        complete=True,
        outcome=Outcome.COMPLIANT,
        summary="The host meets all 3 requirements of profile kvm-host.",
        host=METAL,
        backend=Backend(engine="kvm", name="kvm_amd", software=False, detail="/sys/module/kvm_amd; nested paging on"),
        profile="kvm-host",
        profile_sha256="3f5a0c2e" * 8,
        cases_sha256="91bd77e4" * 8,
        findings=(
            finding("kvm.device", "/dev/kvm can be used"),
            finding("svm.usable", "AMD-V (SVM) can be used"),
            finding("cases.traps", "Trap handling follows the manuals", severity="major"),
        ),
        claims=(
            claim("svm", "AMD-V (SVM)"),
            claim("npt", "Nested paging (NPT)"),
            claim("nx", "No-execute pages (NX)", proof=Proof.FUNCTIONAL_ONLY, proof_reason="KVM could emulate it"),
        ),
        counts=counts(cases),
        failing=failing,
    )
    return replace(run, **changes), Evidence(snapshot={}, facts=FACTS, cases=tuple(cases))  # type: ignore[arg-type]


def healthy() -> tuple[Run, Evidence]:
    return made_run([*passing_cases(), SKIP])


FIRMWARE = {
    "cause": "svm-disabled-in-firmware",
    "cause_text": "SVM is present in silicon but the firmware switched it off and locked it "
    "(VM_CR.SVMDIS = 1, LOCK = 1)",
    "remedy": "enable-svm",
    "remedy_text": "Enter the BIOS set-up, System BIOS > Processor Settings > Virtualization Technology: Enabled; "
    "then power the host off and on (a warm reset keeps the lock).",
}


def firmware_off() -> tuple[Run, Evidence]:
    """SVM switched off in firmware: no guest can run."""
    run, evidence = made_run(
        [],
        outcome=Outcome.NOT_COMPLIANT,
        summary="The host does not meet 3 of 6 requirements of profile kvm-host: SVM is disabled in firmware.",
        backend=Backend(engine="none", name="none", software=None, detail="/dev/kvm is absent"),
        findings=(
            finding("cpu.64bit", "The processor has 64-bit mode"),
            finding(
                "svm.usable",
                "AMD-V (SVM) can be used",
                Standing.NOT_MET,
                evidence=("MSR 0xc0010114 = 0x18 on CPUs 0-63", "dmesg: kvm: disabled by bios"),
                **FIRMWARE,
            ),
            finding("kvm.device", "/dev/kvm can be used", Standing.NOT_MET, **FIRMWARE),
            finding("npt.usable", "Nested paging can be used", Standing.NOT_MET, severity="major", **FIRMWARE),
            finding(
                "iommu.on",
                "An IOMMU is active",
                Standing.WAIVED,
                gates=False,
                severity="minor",
                waiver="jane@example.org, no device passthrough in this pool, until 2026-03-31",
            ),
            finding(
                "microcode.revision",
                "The microcode is at least 0xa101144",
                Standing.UNKNOWN,
                gates=False,
                severity="minor",
                cause="msr-unreadable",
                cause_text="The microcode revision could not be read: /dev/cpu/0/msr is absent",
                remedy="load-msr",
                remedy_text="modprobe msr, then run virtproof again as root.",
            ),
        ),
        claims=(
            claim(
                "svm",
                "AMD-V (SVM)",
                firmware=Layer.NO,
                kernel=Layer.NO,
                functional=Layer.NO,
                proof=Proof.UNPROVEN,
                proof_reason="no guest could be started",
                proof_cases=(),
                **FIRMWARE,
            ),
            claim(
                "npt",
                "Nested paging (NPT)",
                firmware=Layer.NO,
                kernel=Layer.UNKNOWN,
                functional=Layer.UNKNOWN,
                proof=Proof.UNPROVEN,
                proof_reason="no guest could be started",
                proof_cases=(),
                **FIRMWARE,
            ),
            claim(
                "vmx",
                "VT-x (VMX)",
                silicon=Layer.NOT_APPLICABLE,
                firmware=Layer.NOT_APPLICABLE,
                kernel=Layer.NOT_APPLICABLE,
                functional=Layer.NOT_APPLICABLE,
                proof=Proof.UNPROVEN,
                proof_reason="not an Intel processor",
                proof_cases=(),
                evidence=(),
            ),
        ),
        not_proven=("Nothing that a guest would have to show: no guest could be started, /dev/kvm is absent.",),
    )
    return run, evidence


def software_backend() -> tuple[Run, Evidence]:
    """kvm_pvm: guests run, but on an emulator, and some instructions end the guest."""
    cases = [c for c in passing_cases() if c.id != FAIL.id] + [FAIL, CRASH, SKIP, ERROR]
    return made_run(
        cases,
        outcome=Outcome.NOT_COMPLIANT,
        summary="The host does not meet 2 of 3 requirements of profile kvm-host.",
        host=replace(METAL, system="Google Compute Engine", hypervisor="KVM", bios="Google 1.0 (08/01/2025)"),
        backend=Backend(
            engine="kvm", name="kvm_pvm", software=True, detail="/sys/module/kvm_pvm is there, kvm_amd is not"
        ),
        findings=(
            finding("kvm.device", "/dev/kvm can be used"),
            finding(
                "kvm.hardware",
                "KVM uses the processor's virtualization",
                Standing.NOT_MET,
                cause="software-backend",
                cause_text="KVM's backend here is kvm_pvm: software, without VT-x or AMD-V",
                remedy="nested-virtualization",
                remedy_text="Ask the provider for nested virtualization, or use a bare-metal host.",
                evidence=("/sys/module/kvm_pvm exists", "CPUID 0x80000001 ECX[2] = 0 on CPUs 0-63"),
            ),
            finding(
                "cases.traps",
                "Trap handling follows the manuals",
                Standing.NOT_MET,
                severity="major",
                evidence=("trap.bp.int3.long64: crash",),
            ),
        ),
        claims=(
            claim(
                "svm",
                "AMD-V (SVM)",
                silicon=Layer.NO,
                firmware=Layer.UNKNOWN,
                kernel=Layer.NO,
                functional=Layer.YES,
                cause="software-backend",
                cause_text="KVM's backend here is kvm_pvm: software, without VT-x or AMD-V",
                proof=Proof.CONTRADICTED,
                proof_reason="guests run although the processor does not show SVM",
            ),
            claim("nx", "No-execute pages (NX)", proof=Proof.FUNCTIONAL_ONLY, proof_reason="a software backend"),
        ),
        not_proven=(
            "SVM, nested paging and NX in hardware: the backend kvm_pvm is software, so guest results describe it.",
        ),
    )


def interrupted() -> tuple[Run, Evidence]:
    return made_run(
        passing_cases()[:7],
        complete=False,
        outcome=Outcome.INTERRUPTED,
        summary="Interrupted after 7 of 62 cases; what was not run is unknown.",
        findings=(
            finding("kvm.device", "/dev/kvm can be used"),
            finding("cases.traps", "Trap handling follows the manuals", Standing.UNKNOWN, evidence=()),
        ),
        not_proven=("55 cases were not run.",),
    )


HOSTILE = "<script>alert(1)</script> ]]> & \" ' \x00 \x1b[31mred\x1b[0m \ud800 \u202eevil \ufffe {{ 7*7 }} é 🙂"


def hostile() -> tuple[Run, Evidence]:
    """Every text of the run is an attack."""
    run, evidence = software_backend()
    long = "A" * (1 << 20)
    case = replace(
        FAIL,
        id=HOSTILE,
        area=HOSTILE,
        title=HOSTILE,
        mode=HOSTILE,
        cite=(HOSTILE,),
        reason=HOSTILE,
        checks=(Check(HOSTILE, HOSTILE, long, False),),
        evidence=(HOSTILE, long, "</details></section>"),
    )
    bad_finding = finding(
        HOSTILE,
        HOSTILE,
        Standing.NOT_MET,
        severity=HOSTILE,
        cause=HOSTILE,
        cause_text=HOSTILE,
        remedy_text=HOSTILE,
        evidence=(HOSTILE,),
        waiver=HOSTILE,
    )
    bad_claim = claim(HOSTILE, HOSTILE, cause=HOSTILE, cause_text=HOSTILE, proof_reason=HOSTILE, proof_cases=(HOSTILE,))
    run = replace(
        run,
        version=HOSTILE,
        started=HOSTILE,
        summary=HOSTILE,
        host=Host(vendor=HOSTILE, cpu=HOSTILE, system=HOSTILE, bios=HOSTILE, kernel=HOSTILE),
        backend=Backend(engine=HOSTILE, name=HOSTILE, software=True, detail=HOSTILE),
        profile=HOSTILE,
        findings=(*run.findings, bad_finding),
        claims=(*run.claims, bad_claim),
        counts={**run.counts, HOSTILE: {"fail": 1, HOSTILE: 3}},
        failing=(*run.failing, case),
        not_proven=(HOSTILE, long),
    )
    facts = (*evidence.facts, FactAnswer(id=HOSTILE, meaning=HOSTILE, known=HOSTILE, source=HOSTILE))
    return run, replace(evidence, facts=facts, cases=(*evidence.cases, case))


def bare() -> tuple[Run, Evidence]:
    """As little as a run can say, and numbers that make no sense."""
    case = replace(FAIL, id="", area="", title="", mode="", cite=(), reason="", checks=(), evidence=(), seconds=1e308)
    run, evidence = made_run(
        [case],
        version="",
        started="",
        seconds=1e308,
        outcome=Outcome.ERROR,
        summary="",
        host=Host(),
        backend=Backend(engine="", name="", software=None),
        profile="",
        findings=(finding("", "", Standing.UNKNOWN, severity="", evidence=(), cite=()),),
        claims=(claim("", "", cause="", proof_reason="", evidence=(), proof_cases=(), cite=()),),
        counts={"": {"pass": 0, "fail": 1 << 63}, "none": {}},
    )
    return run, replace(evidence, facts=(FactAnswer(id="", meaning=""),))


RUNS = {
    "healthy": healthy,
    "firmware off": firmware_off,
    "software backend": software_backend,
    "interrupted": interrupted,
    "hostile": hostile,
    "bare": bare,
}


@pytest.fixture(params=RUNS)
def any_run(request: pytest.FixtureRequest) -> tuple[Run, Evidence]:
    return RUNS[request.param]()


@pytest.fixture(name="runs")
def all_runs() -> dict[str, tuple[Run, Evidence]]:
    return {name: make() for name, make in RUNS.items()}


def many_cases(number: int) -> tuple[Run, Evidence]:
    """A healthy run of ``number`` cases, one in fifty of them failing."""
    some = passing_cases()
    cases = [
        replace(some[n % len(some)] if n % 50 else FAIL, id=f"{some[n % len(some)].id}.{n}") for n in range(number)
    ]
    return made_run(cases)


@pytest.fixture
def big_run() -> tuple[Run, Evidence]:
    return many_cases(5000)
