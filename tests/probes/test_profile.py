"""Profiles, waivers and deviations: errors name file, line, key, and the nearest known id."""

from __future__ import annotations

from pathlib import Path

import pytest

from virtproof.probes.causes import CAUSES, explain
from virtproof.probes.facts.catalogue import ALL_FACTS
from virtproof.probes.profile import kernel_in, load_deviations, load_profile, load_waivers, profile_names
from virtproof.spec.fault import Fault

HEAD = 'schema = "virtproof.profile/1"\nname = "x"\ntitle = "X"\n'
GOOD = '[[requirement]]\nid = "a"\ntitle = "A"\nseverity = "major"\nfact = "cpu.nx"\nequals = true\n'


def profile(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "p.toml"
    path.write_text(text)
    return path


def test_profiles_that_come_along_load():
    assert "kvm-host" in profile_names()
    for name in profile_names():
        loaded = load_profile(name)
        assert loaded.name == name
        assert len(loaded.sha256) == 64


def test_ids_of_facts_and_causes_are_unique():
    ids = [fact.id for fact in ALL_FACTS]
    assert len(ids) == len(set(ids))
    assert all(explain(cause, {})[0] for cause in CAUSES)


@pytest.mark.parametrize(("text", "message"), [
    ('name = "x"\n', r"p\.toml, line 1: schema"),
    (HEAD + "[[requirement]\n", "not a TOML document"),
    (HEAD + "stricct = true\n", r"line 4: stricct: there is no key 'stricct'; did you mean 'strict'"),
    (HEAD + GOOD.replace("cpu.nx", "cpu.nxx"), r"line 8: fact: there is no fact 'cpu.nxx'; did you mean 'cpu.nx'"),
    (HEAD + GOOD + GOOD, r"line 11: id: the id 'a' is taken"),
    (HEAD + GOOD + GOOD.replace('"a"', '"b"').replace("major", "bad"), r"line 13: severity: 'bad' is none of"),
    (HEAD + GOOD.replace("equals", "equal"), r"line 9: equal: there is no key 'equal'; did you mean 'equals'"),
    (HEAD + GOOD.replace("equals = true", ""), "exactly one of equals"),
    (HEAD + GOOD + 'claims = ["vmx"]\n', "asks for one of"),
    (HEAD + GOOD.replace('fact = "cpu.nx"\nequals = true', 'claims = ["vxm"]'), "no claim 'vxm'; did you mean 'vmx'"),
    (HEAD + GOOD + 'cause = "software-backed"\n', "did you mean 'software-backend'"),
    (HEAD + GOOD.replace('title = "A"\n', ""), r"line 4: the key 'title' is missing"),
    (HEAD + GOOD.replace('title = "A"', "title = 3"), r"line 6: title: a number where text belongs"),
    (HEAD + "requirement = 3\n", "array of tables"),
])  # fmt: skip
def test_errors_name_the_place(tmp_path, text, message):
    with pytest.raises(Fault, match=message):
        load_profile(str(profile(tmp_path, text)))


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(Fault, match="did you mean 'kvm-host'"):
        load_profile("kvm-hosts")


def test_waivers(tmp_path):
    path = tmp_path / "w.toml"
    row = 'finding = "iommu"\nhost = { kernel = "6.1*" }\nowner = "ops"\nreason = "none needed"\nexpires = 2027-01-31\n'
    path.write_text(f'schema = "virtproof.waivers/1"\n[[waiver]]\n{row}')
    (waiver,) = load_waivers(path)
    assert waiver.host == (("kernel", "6.1*"),)
    assert str(waiver) == "none needed (owner: ops; expires 2027-01-31)"
    path.write_text(f'schema = "virtproof.waivers/1"\n[[waiver]]\n{row}'.replace("2027-01-31", '"soon"'))
    with pytest.raises(Fault, match="line 7: expires: not a date"):
        load_waivers(path)
    path.write_text(f'schema = "virtproof.waivers/1"\n[[waiver]]\n{row}'.replace("kernel =", "colour ="))
    with pytest.raises(Fault, match="'colour' is not known here"):
        load_waivers(path)


def test_deviations(tmp_path):
    path = tmp_path / "d.toml"
    row = 'id = "d"\ncases = ["x.*"]\nbackend = "kvm_*"\nkernel = ">=5.10 <6.1"\nreason = "r"\ncite = ["c"]\n'
    path.write_text(f'schema = "virtproof.deviations/1"\n[[deviation]]\n{row}')
    assert load_deviations(path)[0].cases == ("x.*",)
    path.write_text(f'schema = "virtproof.deviations/1"\n[[deviation]]\n{row}'.replace(">=5.10", "5.10"))
    with pytest.raises(Fault, match="line 6: kernel"):
        load_deviations(path)


@pytest.mark.parametrize(("release", "wanted", "inside"), [
    ("6.1.0-21-amd64", "", True), ("6.1.0", ">=6.1", True), ("6.1.0", "<6.1", False), ("5.15.0", ">=5.4 <6.1", True),
    ("5.3.9", ">=5.4 <6.1", False), ("10.2", ">=6.1", True), ("", ">=6.1", False), ("rubbish", ">=6.1", False),
])  # fmt: skip
def test_kernel_ranges(release, wanted, inside):
    assert kernel_in(release, wanted) is inside
