"""Many runs together: who counts, what stands in the way, and files that are not as they should be."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fleet.conftest import BAD, GOOD, KVM, NO_KVM, NOW, Folder
from virtproof.fleet import roll
from virtproof.fleet.document import HostRow
from virtproof.fleet.find import find
from virtproof.fleet.merge import merge
from virtproof.fleet.read import LIMIT
from virtproof.fleet.roll import Attempt, Roll, State
from virtproof.results import Backend, Outcome, Run, Standing
from virtproof.results_json import dump_run
from virtproof.spec.fault import Fault


def row(folder: Folder, host: str) -> HostRow:
    (found,) = [one for one in folder.merged().hosts if one.host == host]
    return found


def test_a_host_is_called_as_its_folder_is(folder: Folder, tmp_path: Path) -> None:
    folder.add("a", GOOD)
    folder.add("b/2026-05-31/report", GOOD)
    folder.add("b/.half-written", GOOD)
    single = folder.add("c", GOOD)
    assert [one.host for one in find([folder.path])] == ["a", "b", "c"]
    assert [one.host for one in find([folder.path / "b"])] == ["2026-05-31"]
    assert [one.host for one in find([folder.path / "a"])] == ["a"]
    assert [one.host for one in find([single])] == ["c"]
    renamed = tmp_path / "host17.json"
    renamed.write_text(dump_run(GOOD))
    assert [one.host for one in find([renamed])] == ["host17"]
    with pytest.raises(Fault, match="no such file"):
        [*find([tmp_path / "nothing"])]


def test_the_worst_comes_first(folder: Folder) -> None:
    folder.add("good", GOOD)
    folder.add("unknown", replace(GOOD, outcome=Outcome.UNKNOWN))
    folder.add("bad", BAD)
    fleet = folder.merged()
    assert [one.host for one in fleet.hosts] == ["bad", "unknown", "good"]
    assert [*fleet.verdicts.items()] == [("not compliant", 1), ("unknown", 1), ("compliant", 1)]


def test_causes_are_counted_by_host_and_what_gates_comes_first(folder: Folder) -> None:
    minor = replace(NO_KVM, id="tun", title="TUN is there", gates=False, cause="no-tun", cause_text="no /dev/net/tun")
    other = replace(NO_KVM, cause="module", cause_text="kvm_amd is not loaded", remedy_text="modprobe kvm_amd")
    for number in range(3):
        folder.add(f"firmware{number}", replace(BAD, findings=(NO_KVM, minor)))
    folder.add("module", replace(BAD, findings=(other, minor)))
    folder.add("good", replace(GOOD, findings=(KVM, minor)))
    fleet = folder.merged()
    assert [(one.hosts, one.text, one.action, one.gates) for one in fleet.causes] == [
        (3, "SVM is off in firmware", "turn it on", True),
        (1, "kvm_amd is not loaded", "modprobe kvm_amd", True),
        (5, "no /dev/net/tun", "turn it on", False),
    ]
    assert {one.host: one.causes for one in fleet.hosts}["module"] == (1, 2)


def test_what_as_many_hosts_have_is_in_the_order_of_their_own_reports(folder: Folder) -> None:
    """A count of cases follows from what is switched off, and would come first by its name."""
    follows = replace(NO_KVM, id="z", title="Z", cause=None, cause_text="58 of 144 cases are skipped", evidence=("1",))
    software = replace(NO_KVM, id="y", title="Y", cause="software-kvm", cause_text="KVM is software")
    minor = replace(NO_KVM, id="x", title="X", severity="minor", cause="a", cause_text="a minor thing")
    for number in range(2):
        folder.add(f"h{number}", replace(BAD, findings=(minor, NO_KVM, software, follows)))
    texts = [one.text for one in folder.merged().causes]
    assert texts == ["SVM is off in firmware", "KVM is software", "58 of 144 cases are skipped", "a minor thing"]
    folder.add("h2", replace(BAD, findings=(replace(minor, id="w", title="W", cause="b", cause_text="another"),)))
    folder.add("h3", replace(BAD, findings=(replace(NO_KVM, id="v", title="V", cause="c", cause_text="grave"),)))
    assert [one.text for one in folder.merged().causes][-2:] == ["grave", "another"], "both are first on their host"
    folder.add("h4", replace(BAD, findings=(follows,)))
    assert folder.merged().causes[0].text == "58 of 144 cases are skipped", "the most frequent comes first"


def test_one_cause_in_several_wordings_is_one_cause(folder: Folder) -> None:
    for number, text in enumerate(["3 of 9 cases", "3 of 9 cases", "4 of 9 cases"]):
        folder.add(f"h{number}", replace(BAD, findings=(replace(NO_KVM, cause_text=text),)))
    (cause,) = folder.merged().causes
    assert (cause.hosts, cause.text) == (3, "3 of 9 cases")
    assert [(one.hosts, one.text) for one in cause.variants] == [(2, "3 of 9 cases"), (1, "4 of 9 cases")]


def test_a_host_with_two_wordings_counts_once(folder: Folder) -> None:
    twice = (NO_KVM, replace(NO_KVM, id="again", cause_text="SVM is off, still"))
    folder.add("h", replace(BAD, findings=twice))
    (cause,) = folder.merged().causes
    assert (cause.hosts, len(cause.variants)) == (1, 2)


def test_the_latest_of_several_runs_counts(folder: Folder) -> None:
    folder.add("h/1", replace(GOOD, started="2026-05-31T12:00:00+02:00"))  # 10:00 UTC
    folder.add("h/2", replace(BAD, started="2026-05-31T10:30:00+00:00"))
    folder.add("h/3", replace(GOOD, started="no time at all"))
    fleet = folder.merged()
    (one,) = fleet.hosts
    assert (one.verdict, one.started) == ("not compliant", "2026-05-31T10:30:00+00:00")
    assert fleet.superseded == 2


DAMAGED = {
    "empty": (b"", "not JSON"),
    "truncated": (dump_run(GOOD)[:-300].encode(), "not JSON"),
    "binary": (b"\x1f\x8b\0\xff\xfe", "not JSON"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "no object": (b"[1, 2]", "schema is None"),
    "older schema": (dump_run(GOOD).replace("virtproof.run/1", "virtproof.run/0").encode(), "virtproof.run/0"),
    "newer schema": (dump_run(GOOD).replace("virtproof.run/1", "virtproof.run/7").encode(), "virtproof.run/7"),
    "wrong type": (dump_run(GOOD).replace('"seconds": 60.0', '"seconds": "long"').encode(), "$.seconds"),
    "huge number": (dump_run(GOOD).replace('"seconds": 60.0', '"seconds": ' + "9" * 5000).encode(), "not JSON"),
    "not a number": (dump_run(GOOD).replace('"seconds": 60.0', '"seconds": NaN').encode(), "NaN"),
    "claims to be compliant": (dump_run(replace(BAD, outcome=Outcome.COMPLIANT)).encode(), "contradicts itself"),
    "too large": (b" " * (LIMIT + 1), "larger than 4 MiB"),
}


def test_broken_files_are_told_and_stop_nothing(folder: Folder) -> None:
    for name, (data, _) in DAMAGED.items():
        folder.add(name, data)
    folder.add("good", GOOD)
    fleet = folder.merged()
    assert fleet.verdicts == {"unreadable": len(DAMAGED), "compliant": 1}
    told = {one.host: one.why for one in fleet.refused}
    assert told.keys() == DAMAGED.keys()
    for name, (_, why) in DAMAGED.items():
        assert why in told[name], name
    assert "schema" in next(one.summary for one in fleet.hosts if one.host == "older schema")


def test_what_is_no_file_does_not_hang(folder: Folder) -> None:
    for kind in ("pipe", "link", "socket", "folder", "secret"):
        (folder.path / kind).mkdir(parents=True)
    os.mkfifo(folder.path / "pipe" / "run.json")
    (folder.path / "link" / "run.json").symlink_to(folder.add("good", GOOD))
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder.path / "socket")  # the path of a socket is short
        listener.bind("run.json")
        os.chdir(here)
    (folder.path / "folder" / "run.json").mkdir()
    fleet = folder.merged()
    assert {one.host for one in fleet.refused} == {"pipe", "link", "socket"}
    assert fleet.verdicts["compliant"] == 1


def test_a_broken_file_beside_a_good_one_of_the_same_host(folder: Folder) -> None:
    folder.add("h/1", GOOD)
    folder.add("h/2", b"{")
    fleet = folder.merged()
    assert [(one.host, one.verdict) for one in fleet.hosts] == [("h", "compliant")]
    assert len(fleet.refused) == 1


def test_hostile_text_is_harmless_and_bounded(folder: Folder) -> None:
    hostile = "\x1b[2J\u202e\ud800</script>" + "x" * 1000
    found = replace(NO_KVM, id=hostile, title=hostile, cause=hostile, cause_text=hostile, remedy_text=hostile)
    many = tuple(replace(found, id=f"{hostile}{number}") for number in range(300))
    folder.add("h\n\x1b", replace(BAD, summary=hostile, started=hostile, findings=many, profile=hostile))
    fleet = folder.merged()
    text = json.dumps(fleet.hosts[0].host) + fleet.hosts[0].summary + fleet.causes[0].text + fleet.causes[0].kind
    assert "\x1b" not in text
    assert "\ud800" not in text
    assert len(text) < 2000
    assert fleet.hosts[0].host == "h\\n\\x1b"


def test_no_run_at_all_is_a_fault(folder: Folder) -> None:
    folder.path.mkdir()
    with pytest.raises(Fault, match=r"there is no run\.json"):
        folder.merged()


@pytest.mark.parametrize(
    ("backend", "counts", "proof"),
    [
        (GOOD.backend, GOOD.counts, "hardware"),
        (GOOD.backend, {}, "no guest ran"),
        (Backend(engine="kvm", name="kvm_pvm", software=True), GOOD.counts, "software KVM"),
        (Backend(engine="software", name="unicorn", software=True), GOOD.counts, "software engine"),
        (Backend(engine="software", name="unicorn", software=False), GOOD.counts, "software engine"),
        (Backend(engine="kvm", name="unknown", software=None), GOOD.counts, "could not tell"),
    ],
)
def test_an_emulator_never_counts_as_proof(
    folder: Folder, backend: Backend, counts: dict[str, dict[str, int]], proof: str
) -> None:
    folder.add("h", replace(GOOD, backend=backend, counts=counts))
    fleet = folder.merged()
    assert fleet.proofs == {proof: 1}
    doubted = any("emulator" in note or "not proven" in note for note in fleet.notes)
    assert doubted is (proof in {"software KVM", "software engine", "no guest ran"})


def test_mixed_profiles_and_versions_are_told(folder: Folder) -> None:
    folder.add("a", GOOD)
    folder.add("b", replace(GOOD, profile="nested-kvm", version="0.2.0"))
    notes = " ".join(folder.merged().notes)
    assert "2 profiles: kvm-host (1), nested-kvm (1)" in notes
    assert "2 versions of virtproof" in notes


@pytest.mark.parametrize(
    ("started", "note"),
    [
        ("2026-06-01T12:04:00+00:00", ""),
        ("2026-06-01T12:30:00+00:00", "from the future"),
        ("9999-12-31T23:59:59-23:59", "from the future"),
        ("1970-01-01T00:03:00+00:00", "never set"),
        ("yesterday", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_a_clock_that_is_wrong_is_told(folder: Folder, started: str, note: str) -> None:
    folder.add("h", replace(GOOD, started=started))
    notes = " ".join(row(folder, "h").notes)
    assert note in notes if note else not notes


def asked(folder: Folder, *attempts: Attempt, complete: bool = True) -> None:
    folder.path.mkdir(exist_ok=True)
    begun, ended = "2026-05-31T10:00:00+00:00", "2026-05-31T10:30:00+00:00"
    known = Roll(version="0.1.0", profile="kvm-host", begun=begun, ended=ended, complete=complete, hosts=attempts)
    roll.save(known, folder.path)


def attempt(host: str, state: State, detail: str = "") -> Attempt:
    begun, ended = "2026-05-31T10:00:00+00:00", "2026-05-31T10:30:00+00:00"
    return Attempt(host=host, state=state, detail=detail, begun=begun, ended=ended)


def test_a_host_that_did_not_answer_is_a_row(folder: Folder) -> None:
    folder.add("ran", GOOD)
    folder.add("again", replace(GOOD, seconds=1.0))
    asked(
        folder,
        attempt("ran", State.CHECKED),
        attempt("away", State.UNREACHABLE, "No route to host\x1b"),
        attempt("died", State.FAILED, "the connection was lost"),
        attempt("again", State.UNREACHABLE, "No route to host"),
        attempt("lost", State.CHECKED),
    )
    fleet = folder.merged()
    assert fleet.verdicts == {"unreachable": 1, "failed": 2, "compliant": 2}
    assert row(folder, "away").summary == "No route to host\\x1b"
    assert "an earlier run" in row(folder, "again").notes[1]
    assert row(folder, "lost").summary == "A run was made there, and is not here."
    assert not row(folder, "ran").notes


def test_a_clock_that_differs_from_who_asked_is_told(folder: Folder) -> None:
    folder.add("late", replace(GOOD, started="2026-05-31T11:00:00+00:00"))
    folder.add("right", GOOD)
    asked(folder, attempt("late", State.CHECKED), attempt("right", State.CHECKED))
    assert row(folder, "late").notes == ("The host's clock differs from that of who asked it by about 3600 s.",)
    assert row(folder, "right").notes == ()
    assert "The clock of 1 host is wrong" in " ".join(folder.merged().notes)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "virtproof.fleet/2"}'])
def test_a_broken_roll_stops_nothing(folder: Folder, text: str) -> None:
    folder.add("h", GOOD)
    (folder.path / roll.FILE).write_text(text)
    fleet = folder.merged()
    assert fleet.verdicts == {"compliant": 1}
    assert "which hosts were asked is not known" in fleet.notes[0]


def test_a_fleet_run_that_ended_early_is_told(folder: Folder) -> None:
    folder.add("h", GOOD)
    asked(folder, attempt("h", State.CHECKED), complete=False)
    assert "ended before its end" in folder.merged().notes[0]


def test_copies_under_two_names_are_told(folder: Folder) -> None:
    same_boot = replace(GOOD, host=replace(GOOD.host, boot_id="b1"))
    folder.add("a", GOOD)
    folder.add("b", GOOD)
    folder.add("c", same_boot)
    folder.add("d", replace(same_boot, seconds=1.0))
    folder.add("e", replace(GOOD, seconds=2.0))
    notes = {one.host: one.notes for one in folder.merged().hosts}
    assert notes["a"] == ("The same file is there as b, too.",)
    assert notes["d"] == ("A run of the same boot of one machine is there as c, too.",)
    assert notes["e"] == ()


def test_an_interrupted_run_is_no_verdict(folder: Folder) -> None:
    folder.add("h", replace(GOOD, complete=False, outcome=Outcome.INTERRUPTED))
    one = row(folder, "h")
    assert (one.verdict, one.notes) == ("interrupted", ("The run was interrupted.",))


def test_groups(folder: Folder) -> None:
    hp = replace(GOOD.host, system="HPE DL360", bios="U32")
    for number in range(3):
        folder.add(f"dell{number}", GOOD if number else BAD)
    folder.add("hp", replace(GOOD, host=hp))
    fleet = folder.merged()
    assert [(one.value, one.hosts, one.verdicts, one.cause) for one in fleet.groups["system"]] == [
        ("Dell R7615", 3, {"not compliant": 1, "compliant": 2}, 0),
        ("HPE DL360", 1, {"compliant": 1}, None),
    ]
    assert [one.value for one in fleet.groups["bios"]] == ["Dell 1.6", "U32"]


def test_many_are_read_by_several_processes(folder: Folder) -> None:
    for number in range(70):
        folder.add(f"h{number:02}", BAD if number % 7 == 0 else GOOD)
    folder.add("broken", b"{")
    one, several = (merge([folder.path], now=NOW, workers=workers) for workers in (1, 3))
    assert one == several
    assert one.verdicts == {"not compliant": 10, "unreadable": 1, "compliant": 60}


def test_a_waived_finding_stands_in_nobodys_way(folder: Folder) -> None:
    waived = replace(NO_KVM, standing=Standing.WAIVED)
    run: Run = replace(GOOD, findings=(waived,))
    folder.add("h", run)
    assert folder.merged().causes == ()
