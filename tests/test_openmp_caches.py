"""Cache sizes as sysfs tells them, from trees of files made here."""

from pathlib import Path

from parlab.openmp_like import caches


def tree(root: Path, cpus: dict[int, list[tuple[str, int, int, str]]]) -> Path:
    """Write what Linux would show: for each core its caches, as (type, level, KiB, shared by)."""
    for cpu, found in cpus.items():
        for i, (kind, level, kib, shared) in enumerate(found):
            folder = root / f"cpu{cpu}" / "cache" / f"index{i}"
            folder.mkdir(parents=True)
            for name, text in (("type", kind), ("level", level), ("size", f"{kib}K"), ("shared_cpu_list", shared)):
                (folder / name).write_text(f"{text}\n")
    return root


def own(cpu: int) -> list[tuple[str, int, int, str]]:
    return [("Data", 1, 32, str(cpu)), ("Instruction", 1, 64, str(cpu)), ("Unified", 2, 512, str(cpu))]


def test_data_caches_are_told_by_level(tmp_path: Path) -> None:
    root = tree(tmp_path, {0: [*own(0), ("Unified", 3, 16384, "0-1")]})
    assert caches.sizes(0, root) == {1: 32 << 10, 2: 512 << 10, 3: 16 << 20}


def test_last_caches_that_groups_of_cores_share_are_counted_once_each(tmp_path: Path) -> None:
    last = {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}
    root = tree(tmp_path, {cpu: [*own(cpu), ("Unified", 3, 16384, shared)] for cpu, shared in last.items()})
    assert caches.last_bytes({0, 1}, root) == 16 << 20
    assert caches.last_bytes({0, 1, 2, 3}, root) == 32 << 20


def test_without_a_third_level_the_second_is_the_last(tmp_path: Path) -> None:
    assert caches.last_bytes({0, 1}, tree(tmp_path, {0: own(0), 1: own(1)})) == 1 << 20


def test_a_machine_that_does_not_tell_gets_usual_sizes(tmp_path: Path) -> None:
    assert caches.sizes(0, tmp_path) == caches.USUAL
    assert caches.last_bytes({0}, tmp_path) == caches.USUAL[3]
