"""Firmware settings out of band: from a service on loopback, with good answers and bad ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("redfish", reason="the extra 'redfish' is not installed")
pytest.importorskip("trustme")

from tests.probes.out_of_band.mockup import PASSWORD, SYSTEM, USER, Mockup, dell, serve, tree
from virtproof.cli.app import run
from virtproof.probes.ask import Answers, ask
from virtproof.probes.snapshot import SCHEMA, checked, dumps, loads
from virtproof.probes.sources import redfish, redfish_http
from virtproof.probes.sources.redfish_http import Service, getter
from virtproof.spec.fault import Fault
from virtproof.spec.redfish import maker


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Mockup]:
    with serve(Mockup(dell()), tmp_path) as mockup:
        yield mockup


def collected(mockup: Mockup, **changes: Any) -> dict[str, Any]:
    asked = Service(**{"url": mockup.url, "user": USER, "password": PASSWORD, "ca_file": mockup.ca_file, **changes})
    return redfish.read(getter(asked), asked.system)


def answers(section: dict[str, Any], **more: Any) -> Answers:
    least = {"schema": SCHEMA, "tool": "x", "taken": "2026-01-01T00:00:00Z", "cpus": "0"}
    return ask(loads(dumps(checked({**least, "redfish": section, **more}))))


def reasons(section: dict[str, Any]) -> str:
    return "; ".join(entry["reason"] for entry in section["unread"])


def test_a_poweredge_says_what_is_set_and_what_is_staged(service: Mockup) -> None:
    section = collected(service)
    found = answers(section)
    assert section["unread"] == []
    assert found.value("redfish.virtualization") is True
    assert found.value("redfish.sriov") is False
    assert found.value("redfish.tpm") == "On"
    assert found.value("redfish.staged") == "SriovGlobalEnable"
    assert found.value("redfish.secure_boot_mode") == "DeployedMode"
    assert found.value("redfish.secure_boot_enable") is True
    assert found.value("redfish.bios_version") == "2.19.1"
    assert found.value("redfish.registry") == "BiosAttributeRegistry.v1_0_0"
    assert found.value("redfish.iommu") is None
    assert "SECRET" not in json.dumps(section)
    assert {method for method, _ in service.requests} == {"GET"}, "nothing is changed, no session is made"
    assert len(service.requests) <= 8


# fmt: off
MAKERS = [
    #  manufacturer             attribute                                             fact              value
    ("HPE",                     {"IntelProcVtd": "Enabled"},                          "iommu",          True),
    ("HPE",                     {"ProcSMT": "Disabled"},                              "smt",            False),
    ("Hewlett Packard Enterprise", {"Sriov": "Enabled"},                              "sriov",          True),
    ("Lenovo",                  {"Processors_SVMMode": "Disabled"},                   "virtualization", False),
    ("Supermicro",              {"IntelVirtualizationTechnology_00A1": "Enable"},     "virtualization", True),
    ("Supermicro",              {"SR_IOVSupport_002B": "Disabled"},                   "sriov",          False),
    ("Super Micro Computer",    {"SMEE_0123": "Auto"},                                "sme",            None),
    ("ASRockRack",              {"CbsCmnCpuSevAsidCount": "509 ASIDs"},               "sev_asids",      "509 ASIDs"),
    ("Intel Corporation",       {"VTdSupport": True},                                 "iommu",          True),
    ("Nobody",                  {"ProcVirtualization": "Enabled"},                    "virtualization", None),
    ("Dell Inc.",               {"ProcVirtualization": "disabled "},                  "virtualization", False),
    ("Dell Inc.",               {"procvirtualization": "Enabled"},                    "virtualization", None),
]
# fmt: on


@pytest.mark.parametrize(("manufacturer", "attributes", "fact", "value"), MAKERS)
def test_each_maker_has_its_names(manufacturer, attributes, fact, value):
    documents = tree({"Manufacturer": manufacturer}, attributes, {})
    assert answers(redfish.read(documents.__getitem__)).value(f"redfish.{fact}") == value


def test_nothing_staged_is_an_answer():
    assert answers(redfish.read(tree({}, {}, {}).__getitem__)).value("redfish.staged") == ""


@pytest.mark.parametrize(("here", "agrees"), [("2.19.1", True), ("2.18.0", False), ("U30", False)])
def test_versions_in_band_and_out_of_band_are_compared(here, agrees):
    files = {"values": {"/sys/class/dmi/id/bios_version": here}, "names": {}, "absent": [], "unread": []}
    section = redfish.read(dell().__getitem__)
    assert answers(section, files=files).value("redfish.bios_version_agrees") is agrees


def test_no_service_asked_is_unknown_and_says_so():
    found = ask(checked({"schema": SCHEMA, "tool": "x", "taken": "2026-01-01T00:00:00Z", "cpus": "0"}))
    assert "--redfish" in found["redfish.virtualization"].answer.reason
    assert maker("") == maker("Nobody")


def test_the_certificate_is_verified(service: Mockup, tmp_path: Path) -> None:
    assert "certificate is not trusted" in reasons(collected(service, ca_file=None))
    assert service.requests == [], "no password goes to a server that is not trusted"
    (tmp_path / "other").mkdir()
    with serve(Mockup(dell()), tmp_path / "other", names=("elsewhere.example",)) as other:
        assert "not trusted" in reasons(collected(other))
        assert other.requests == []


@pytest.mark.parametrize(
    "url", ["http://localhost", "localhost", "ftp://localhost", "https://", "https://a:b@localhost"]
)
def test_only_https_without_a_password_in_it(url):
    with pytest.raises(Fault, match="https"):
        getter(Service(url, USER, PASSWORD))


def test_a_wrong_password(service: Mockup) -> None:
    section = collected(service, password="guess")
    assert "401: the user or the password" in reasons(section)
    assert "HTTP status 401" in answers(section)["redfish.virtualization"].answer.reason


BAD = {
    "missing": (404, {}, b"{}"),
    "broken": (500, {}, b"oops"),
    "truncated JSON": b'{"Attributes": {"ProcVirtualization": "Ena',
    "fewer bytes than announced": (200, {"Content-Length": "1000"}, b'{"Attributes"'),
    "no JSON": b"<html>login</html>",
    "not UTF-8": b"\xff\xfe{",
    "deep JSON": b"[" * 100_000,
    "a list": [],
    "a number": 7,
    "null": b"null",
    "no attributes": {},
    "attributes of the wrong kind": {"Attributes": [1, 2]},
    "compressed": (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b\x08\0"),
    "elsewhere": (302, {"Location": "https://127.0.0.2/redfish/v1/"}, b""),
    "by http": (302, {"Location": "http://localhost/"}, b""),
    "in circles": (302, {"Location": f"{SYSTEM}/Bios"}, b""),
    "status": (204, {}, b""),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_unknown_with_a_reason(service: Mockup, kind: str) -> None:
    service.documents[f"{SYSTEM}/Bios"] = BAD[kind]
    section = collected(service)
    found = answers(section)
    assert found.value("redfish.virtualization") is None
    assert section["unread"][0]["what"] == "bios"
    assert section["unread"][0]["reason"]
    assert "localhost" not in json.dumps(section), "the address is no part of a snapshot"
    assert found.value("redfish.secure_boot_mode") == "DeployedMode", "the rest is read all the same"


@pytest.mark.parametrize("kind", ["elsewhere", "by http"])
def test_no_other_server_is_asked(service: Mockup, kind: str) -> None:
    service.documents[f"{SYSTEM}/Bios"] = BAD[kind]
    assert "redirects to another server" in reasons(collected(service))


def test_a_redirection_within_the_service_is_followed(service: Mockup) -> None:
    service.documents["/redfish/v1/Systems/"] = service.documents.pop("/redfish/v1/Systems")
    service.documents["/redfish/v1/Systems"] = (308, {"Location": "/redfish/v1/Systems/"}, b"")
    assert collected(service)["unread"] == []


def test_a_huge_answer_is_not_read_to_its_end(service: Mockup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redfish_http, "MAX_ANSWER", 1 << 20)
    service.documents[f"{SYSTEM}/Bios"] = b'{"Attributes": {}, "x": "' + b"x" * (3 << 20) + b'"}'
    assert "more than 1 MiB" in reasons(collected(service))


def test_silence_is_unknown(service: Mockup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redfish_http, "SECONDS", 0.05)
    service.silent = True
    assert "no answer within" in reasons(collected(service))


def test_nobody_there(service: Mockup) -> None:
    assert "Connection refused" in reasons(collected(service, url="https://127.0.0.1:1"))


REFERENCES = [
    None, 7, {}, {"@odata.id": 7}, {"@odata.id": "https://evil.example/redfish/v1/"}, {"@odata.id": "/etc/passwd"},
    {"@odata.id": "/redfish/v1/../../admin"}, {"@odata.id": "//evil.example/redfish/v1/"},
    {"@odata.id": "/redfish/v1/" + "x" * 1000}, {"@odata.id": "/redfish/v1/\r\nX: y"},
]  # fmt: skip


@pytest.mark.parametrize("reference", REFERENCES)
def test_references_out_of_the_service_are_not_followed(reference):
    asked: list[str] = []
    documents = dell()
    documents[SYSTEM]["Bios"] = reference

    def get(path: str) -> object:
        asked.append(path)
        return documents[path]

    section = redfish.read(get)
    assert "its reference is no path" in reasons(section)
    assert all(path in documents for path in asked)


@pytest.mark.parametrize("members", [[], [{"@odata.id": SYSTEM}] * 2, None, {}])
def test_several_systems_need_a_name(members):
    documents = dell()
    documents["/redfish/v1/Systems"]["Members"] = members
    assert "name one by its path" in reasons(redfish.read(documents.__getitem__))
    assert redfish.read(documents.__getitem__, SYSTEM)["unread"] == []
    assert Service(f"https://bmc{SYSTEM}/", USER, PASSWORD).system == SYSTEM


def test_values_of_every_kind_are_bounded():
    names = ["ProcVirtualization", "SriovGlobalEnable", "LogicalProc", "IommuSupport", "Sme", "Snp", "TpmSecurity"]
    values = ["x" * 10_000, 2**70, None, [1], {"a": 1}, 1.5, "\ud800"]
    documents = tree({"Manufacturer": "\ud800Dell", "Model": 7}, dict(zip(names, values, strict=True)), {})
    section = redfish.read(documents.__getitem__)
    answers(section)
    assert section["bios"]["attributes"].keys() == {"ProcVirtualization", "TpmSecurity"}


def test_the_password_is_nowhere_to_be_seen():
    assert PASSWORD not in repr(Service("https://bmc", USER, PASSWORD))


def test_collect_asks_the_service(
    service: Mockup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asking = ["collect", "-o", str(tmp_path / "host.json"), "--redfish", service.url, "--user", USER]
    asking += ["--ca-file", service.ca_file]
    monkeypatch.setenv("VIRTPROOF_REDFISH_PASSWORD", PASSWORD)
    assert run(asking) == 0
    text = (tmp_path / "host.json").read_text()
    assert loads(text).redfish("system")["model"] == "PowerEdge R740"
    assert PASSWORD not in text
    (tmp_path / "word").write_text("wrong\n")
    assert run([*asking, "--password-file", str(tmp_path / "word")]) == 0, "the rest of the host is worth having"
    assert "401" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--redfish", "https://bmc"], ["--user", "x"]])
def test_options_that_need_one_another(arguments):
    assert run(["collect", *arguments]) == 64


def test_the_password_is_no_option():
    assert run(["collect", "--redfish", "https://bmc", "--user", "x", "--password", "y"]) == 64
