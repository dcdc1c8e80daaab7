"""Counters of energy: a made-up folder of the kernel's, a counter that begins again, and what is said where there is none."""

import ctypes
import os
from pathlib import Path

import pytest

from parlab import energy
from parlab.energy import GPUS, PROCESSORS, Counter


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as on a machine with two processors."""
    zones = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core", "intel-rapl:2": "psys"}
    for zone, name in {**zones, "intel-rapl-mmio:0": "package-0"}.items():
        (tmp_path / zone).mkdir()
        for file, text in {"name": name, "energy_uj": "1000000", "max_energy_range_uj": "262143328850"}.items():
            (tmp_path / zone / file).write_text(text + "\n")
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(energy, "_gpus", list)
    return tmp_path


def test_each_package_counts_once(powercap: Path) -> None:
    found = energy.counters()
    assert [counter.of for counter in found] == [PROCESSORS] * 2
    (powercap / "intel-rapl:1" / "energy_uj").write_text("3500000\n")
    assert [counter.spent(1.0) for counter in found] == [0.0, 2.5]
    assert "processors" not in str(energy.missing(found))


def test_a_counter_that_begins_again_has_not_run_backwards(powercap: Path) -> None:
    (counter, _) = energy.counters()
    assert counter.spent(262143.0) == pytest.approx(1.0 + 0.32885)


def test_the_joules_of_a_run_are_those_of_all_counters_of_a_kind(powercap: Path) -> None:
    runs: list[str] = []

    def run() -> None:
        runs.append("run")
        for zone, each in (("intel-rapl:0", 2_000_000), ("intel-rapl:1", 500_000)):
            file = powercap / zone / "energy_uj"
            file.write_text(str(int(file.read_text()) + each))

    found = energy.per_run(run, lambda: runs.append("wait"), [*energy.counters(), Counter(GPUS, lambda: 7.0)], 0.002)
    assert found == pytest.approx({PROCESSORS: 2.5, GPUS: 0.0})
    assert runs[:4] == ["run", "wait"] * 2  # once to warm up, once at least to count


def test_what_is_not_counted_is_said_and_why(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert energy.missing([Counter(PROCESSORS, float), Counter(GPUS, float)]) is None
    assert "no NVIDIA GPU" in str(energy.missing(energy.counters()))
    for file in powercap.glob("*/energy_uj"):
        file.unlink()  # as good as unreadable: tests may run as root
    assert energy.counters() == []
    assert f"only root may read {powercap}" in str(energy.missing([]))
    monkeypatch.setattr(energy, "POWERCAP", powercap / "nowhere")
    assert f"there is no counter in {powercap / 'nowhere'}" in str(energy.missing([]))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_that_only_root_may_read_is_left_out(powercap: Path) -> None:
    (powercap / "intel-rapl:0" / "energy_uj").chmod(0)
    assert len(energy.counters()) == 1


class Nvml:
    """A stand-in for NVIDIA's library: two GPUs, of which the second does not count."""

    nvmlInit_v2 = staticmethod(lambda: 0)

    @staticmethod
    def nvmlDeviceGetCount_v2(count: object) -> int:
        count._obj.value = 2  # type: ignore[attr-defined]
        return 0

    @staticmethod
    def nvmlDeviceGetHandleByIndex_v2(index: int, handle: object) -> int:
        handle._obj.value = index + 1  # type: ignore[attr-defined]
        return 0

    @staticmethod
    def nvmlDeviceGetTotalEnergyConsumption(handle: object, millijoules: object) -> int:
        millijoules._obj.value = 5_000  # type: ignore[attr-defined]
        return 0 if handle.value == 1 else 3  # type: ignore[attr-defined]


def test_gpus_that_count_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Nvml())
    found = energy.counters()
    assert [(counter.of, counter.spent(2.0)) for counter in found] == [(GPUS, 3.0)]
