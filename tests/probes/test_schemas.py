"""The published JSON schemas, held against what virtproof reads and writes."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from virtproof.probes.facts.catalogue import ALL_FACTS
from virtproof.probes.profile import FOLDER, PROFILE, load_profile, profile_names
from virtproof.probes.snapshot import save
from virtproof.spec.fault import Fault

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"


def validator(name: str) -> jsonschema.Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", profile_names())
def test_profiles_that_come_along_fit_the_schema(name):
    validator("profile").validate(tomllib.loads((FOLDER / f"{name}.toml").read_text()))


def test_the_schema_has_exactly_the_keys_that_are_read():
    schema = json.loads((SCHEMAS / "profile.schema.json").read_text())
    assert schema["properties"].keys() == {"schema", "requirement", *PROFILE.required, *PROFILE.optional}
    assert schema["$defs"]["requirement"]["properties"].keys() == PROFILE.rows.known.keys()


HEAD = 'schema = "virtproof.profile/1"\nname = "x"\ntitle = "X"\n'
GOOD = '[[requirement]]\nid = "a"\ntitle = "A"\nseverity = "major"\n'


@pytest.mark.parametrize(("text", "good"), [
    (HEAD + GOOD + 'fact = "cpu.nx"\nequals = true\n', True),
    (HEAD + GOOD + 'fact = "cpu.signature"\nnone_of = ["6/44/*"]\n', True),
    (HEAD + GOOD + 'cases = ["a.*"]\nareas = ["b"]\n', True),
    (HEAD + 'extends = ["kvm-host"]\n[[requirement]]\nid = "iommu"\ngates = true\n', True),
    (HEAD + '[[requirement]]\nid = "iommu"\ngates = true\n', False),
    (HEAD + GOOD + 'cost = "cpuid"\nat_most = 2500\n', True),
    (HEAD + GOOD + 'cost = "cpuid"\n', False),
    (HEAD + GOOD + 'claims = ["nx"]\nat_most = 2500\n', False),
    (HEAD + GOOD + 'cost = "cpuid"\nat_most = 0\n', False),
    (HEAD + GOOD + 'cost = "cpuid"\nat_most = 2500\nfact = "cpu.nx"\nequals = true\n', False),
    (HEAD + GOOD + 'fact = "cpu.nx"\n', False),
    (HEAD + GOOD + 'fact = "cpu.nx"\nequals = true\nat_least = 2\n', False),
    (HEAD + GOOD + 'fact = "cpu.nx"\nequals = true\nclaims = ["nx"]\n', False),
    (HEAD + GOOD + 'claims = ["nx"]\nequals = true\n', False),
    (HEAD + GOOD + 'claims = ["nx"]\nlayers = ["kernal"]\n', False),
    (HEAD + GOOD.replace("major", "bad") + 'claims = ["nx"]\n', False),
    (HEAD + GOOD.replace('"a"', '"A b"') + 'claims = ["nx"]\n', False),
    (HEAD + GOOD + 'claims = ["nx"]\nclaim = 1\n', False),
    (HEAD + GOOD + 'claims = "nx"\n', False),
    (HEAD + GOOD + 'areas = ["a"]\nup_to_priority = 4\n', False),
    (HEAD.replace("/1", "/2"), False),
    (HEAD.replace("title", "titel"), False),
])  # fmt: skip
def test_schema_and_reader_agree(tmp_path, text, good):
    path = tmp_path / "p.toml"
    path.write_text(text)
    if good:
        load_profile(str(path))
    else:
        with pytest.raises(Fault):
            load_profile(str(path))
    assert validator("profile").is_valid(tomllib.loads(text)) is good


# Programs rely on these: a name that is gone, or means something else, takes a new schema number.
PROMISED = {
    "vmx", "svm", "ept", "npt", "unrestricted_guest", "vpid", "asid", "apicv", "avic", "x2avic", "posted_interrupts",
    "nested", "vt_d", "amd_vi", "iommu", "interrupt_remapping", "sr_iov", "nx", "page1g", "x2apic", "tsc_invariant",
    "tsc_scaling", "sev", "sev_es", "sev_snp", "tdx", "la57", "smep", "smap", "umip", "mitigations", "microcode",
    "memory_backing", "device_nodes", "uniformity", "kvm", "pcid", "invpcid", "pku", "tsc_deadline", "xsave",
}  # fmt: skip


@pytest.mark.parametrize("maker", ["complete_intel", "complete_amd", "healthy_intel"])
def test_probe_prints_a_document_of_the_schema(hosts, tmp_path, maker, capsys):
    from virtproof.cli.app import run

    save(getattr(hosts, maker)(tmp_path / "tree").collect(), str(tmp_path / "s.json"))
    assert run(["probe", "--json", "--snapshot", str(tmp_path / "s.json")]) == 0
    document = json.loads(capsys.readouterr().out)
    validator("probe").validate(document)
    assert list(document["facts"]) == [fact.id for fact in ALL_FACTS]
    assert document["claims"].keys() >= PROMISED
    off = {"silicon": "unknown", "firmware": "no", "kernel": "no", "functional": "unknown"}
    on = {"silicon": "yes", "firmware": "yes", "kernel": "yes", "functional": "unknown"}
    named = {"cause": "firmware-off-tdx", "remedy": "enable-in-firmware"}
    na = dict.fromkeys(on, "n/a")
    nothing = {"cause": None, "remedy": None}
    wanted = {"complete_intel": {**on, **nothing}, "complete_amd": {**na, **nothing}, "healthy_intel": {**off, **named}}
    assert document["claims"]["tdx"] == wanted[maker]
