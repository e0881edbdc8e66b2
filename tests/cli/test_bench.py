"""``virtproof bench``: figures from samples, and one run of everything that the software engine can do."""

import json
from dataclasses import replace
from math import log2
from types import SimpleNamespace

import pytest

from virtproof.cli.app import run
from virtproof.cli.bench import (
    WIDTH,
    buckets,
    disk_lines,
    disk_result,
    figures,
    histogram,
    lines,
    nic_lines,
    nic_result,
    summary,
)
from virtproof.guest_payloads import bench
from virtproof.guest_payloads.adapters import ADAPTERS, BATCH, WAYS, Adapter, Carried, Way, carry
from virtproof.guest_payloads.bench import OPERATIONS, Cost, Operation, cost_of, measure
from virtproof.guest_payloads.controllers import CONTROLLERS, DEPTH, LOADS, Controller, Load, Served, serve
from virtproof.vmm.disks.file import FileDisk

HUNDRED = tuple(range(1, 101))


@pytest.mark.parametrize(
    ("samples", "want"),
    [((7,), (7, 7, 7)), ((1, 9), (1, 1, 9)), (HUNDRED, (1, 50, 99)), ((*HUNDRED, 101), (1, 51, 100))],
)
def test_summary_is_of_the_samples(samples: tuple[int, ...], want: tuple[int, int, int]) -> None:
    assert summary(samples) == want


def test_every_sample_is_in_one_bucket_that_holds_it() -> None:
    found = buckets((0, 1, *HUNDRED, (1 << 64) - 1))
    assert found.total() == 103
    assert found[0] == 3
    assert found[int(4 * log2(100))] == sum(2 ** (26 / 4) <= n < 2 ** (27 / 4) for n in HUNDRED)


@pytest.mark.parametrize("samples", [(0,), (5, 5, 5), (0, (1 << 64) - 1), HUNDRED])
def test_histogram_has_its_width_and_shows_the_most_frequent_at_full_height(samples: tuple[int, ...]) -> None:
    bars = histogram(samples)
    assert len(bars) == WIDTH
    assert "█" in bars


def test_figures_are_in_cycles_and_nanoseconds() -> None:
    said = figures(Cost("cpuid", "CPUID", (100, 200, 400), khz=2_000_000))
    assert (said["minimum"], said["median"], said["p99"], said["unit"]) == (100, 200, 400, "cycles")
    assert said["ns"] == {"minimum": 50, "median": 100, "p99": 200}


def test_without_a_frequency_there_are_no_nanoseconds() -> None:
    cost = Cost("cpuid", "CPUID", (100,))
    assert figures(cost)["ns"] is None
    assert "?" in lines([cost])[1].split()


def test_what_was_not_measured_says_why() -> None:
    cost = Cost("vmcall", "VMCALL", reason="not an Intel processor")
    assert figures(cost) == {"name": "vmcall", "title": "VMCALL", "reason": "not an Intel processor"}
    assert "not measured, not an Intel processor" in lines([cost])[1]


class TestSlowHost:
    """The guest does not come back in time unless it is to do little."""

    NOTHING = OPERATIONS[0]

    @pytest.fixture
    def tried(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        tried: list[int] = []

        def run(engine: object, operation: Operation, rounds: int) -> Cost | None:
            tried.append(rounds)
            return Cost(operation.name, operation.title, tuple(range(rounds))) if rounds <= self.capable else None

        monkeypatch.setattr(bench, "_measured", run)
        monkeypatch.setattr(bench, "_missing", lambda engine, operation: "")
        return tried

    capable = 100

    def test_fewer_rounds_are_measured(self, tried: list[int]) -> None:
        cost = measure(SimpleNamespace(max_vcpus=1), self.NOTHING, 1000)  # type: ignore[arg-type]
        assert (tried, len(cost.samples), cost.reason) == ([1000, 100], 100, "")
        assert lines([cost, Cost("cpuid", "CPUID", tuple(range(1000)))])[1].endswith(
            f"{self.NOTHING.title} (100 times)"
        )

    def test_an_operation_that_never_comes_back_is_given_up(self, tried: list[int]) -> None:
        self.capable = 0
        cost = measure(SimpleNamespace(max_vcpus=1), self.NOTHING, 1000)  # type: ignore[arg-type]
        assert (tried, cost.samples, cost.reason) == ([1000, 100, 10], (), "10 rounds did not come back within 10 s")


def test_time_that_runs_backwards_is_no_cost() -> None:
    assert cost_of(OPERATIONS[0], (3, 1, 2), 5).samples == (1, 2, 3)
    found = cost_of(OPERATIONS[0], (3, -1, 2), 5)
    assert (found.samples, found.reason[:6]) == ((), "1 of 3")


def test_an_operation_that_is_not_there_is_refused() -> None:
    assert run(["bench", "nonsense"]) == 64


def test_packets_that_did_not_come_back_are_told_with_the_reason() -> None:
    lost = Carried(ADAPTERS[0], WAYS[0], reason="3 of 16 packets came back as they were sent")
    assert nic_lines([lost])[-1].endswith("not measured, 3 of 16 packets came back as they were sent")
    assert (nic_result(lost).packets, nic_result(lost).reason) == (0, lost.reason)
    assert nic_lines([]) == []


def test_adapters_are_told_by_exits_and_rate() -> None:
    told = nic_lines([Carried(ADAPTERS[1], Way(64, "single"), packets=16, exits=40, seconds=0.5)])[-1]
    assert told.split()[:3] == ["vmxnet3-64-single", "2.500", "32"]


def test_reads_that_did_not_come_back_are_told_with_the_reason() -> None:
    lost = Served(CONTROLLERS[0], LOADS[0], reason="3 of 256 requests came back as they should")
    assert disk_lines([lost])[-1].endswith("not measured, 3 of 256 requests came back as they should")
    assert (disk_result(lost).requests, disk_result(lost).reason) == (0, lost.reason)
    assert disk_lines([]) == []


def test_controllers_are_told_by_exits_requests_and_bytes() -> None:
    load = Load(64 << 10, "sequential", 16, 32)
    told = disk_lines([Served(CONTROLLERS[2], load, requests=32, exits=40, seconds=0.5)])[-1]
    assert told.split()[:4] == ["pvscsi-64k-sequential-qd16", "1.250", "64", "4.2"]


class TestSoftwareEngine:
    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
    def test_measures_or_says_why_not(self, operation: Operation) -> None:
        pytest.importorskip("unicorn")
        from virtproof.vmm.engines.opening import open_engine

        with open_engine("software") as engine:
            cost = measure(engine, operation, 10)
        assert (len(cost.samples) == 10) is not bool(cost.reason)
        assert list(cost.samples) == sorted(cost.samples)

    def test_prints_one_document(self, capsys: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("unicorn")
        assert run(["bench", "--engine", "software", "--rounds", "10", "--json", "nothing", "boot"]) == 0
        document = json.loads(capsys.readouterr().out)
        assert document["schema"] == "virtproof.bench/1"
        assert [cost["name"] for cost in document["costs"]] == ["nothing", "boot"]

    @pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.size}-{way.kind}")
    @pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
    def test_counts_the_registers_that_a_packet_takes(self, adapter: Adapter, way: Way) -> None:
        """By interrupt the 8254x has a doorbell, a cause to read, a mask to set and to clear; and the 8259s hear of it
        here, where they are the monitor's.  VMXNET3 masks by itself.  Virtio does it in memory.
        """
        pytest.importorskip("unicorn")
        from virtproof.vmm.engines.opening import open_engine

        rounds = 2
        with open_engine("software") as engine:
            found = carry(engine, adapter, way, rounds * BATCH)
        assert (found.reason, found.packets) == ("", rounds * BATCH)
        assert found.seconds > 0
        bells = rounds if adapter.name == "virtio-net" else 2 * rounds
        by_packet = {"e1000": 6, "vmxnet3": 2, "virtio-net": 1}[adapter.name]
        first = {"e1000": 1, "vmxnet3": 1, "virtio-net": 0}[adapter.name]
        refilled = rounds if adapter.name != "virtio-net" else 0
        if way.kind == "batch":
            assert found.exits == bells
            assert found.exits * 16 <= found.packets  # what is asked of paravirtual adapters
        else:
            assert found.exits == by_packet * found.packets + refilled + first

    @pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
    @pytest.mark.parametrize("controller", CONTROLLERS, ids=lambda controller: controller.name)
    def test_counts_the_registers_that_a_request_takes(self, controller: Controller, load: Load) -> None:
        """Fusion-MPT has a request and a reply through a register each, and an empty one; and the 8259s hear of it.
        The others have a doorbell for all that is in memory.
        """
        pytest.importorskip("unicorn")
        from virtproof.vmm.engines.opening import open_engine

        with open_engine("software") as engine:
            found = serve(engine, controller, replace(load, requests=2 * DEPTH))
        assert (found.reason, found.requests) == ("", 2 * DEPTH)
        assert found.seconds > 0
        batches = 2 * DEPTH // load.depth
        by_request, by_batch = (2, 1 + 2) if controller.image == "mpt" else (0, 1)
        assert found.exits == by_request * found.requests + by_batch * batches

    def test_a_disk_that_brings_something_else_gives_no_figures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("unicorn")
        from virtproof.vmm.engines.opening import open_engine

        read = FileDisk.read
        monkeypatch.setattr(FileDisk, "read", lambda disk, sector, count: read(disk, sector ^ (sector == 24), count))
        with open_engine("software") as engine:
            found = serve(engine, CONTROLLERS[3], Load(4 << 10, "sequential", 1, 16))
        assert (found.requests, found.reason) == (0, "15 of 16 requests came back as they should")
