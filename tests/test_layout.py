"""The house stands as ARCHITECTURE.md says: no name of ours hides a package, and nobody imports whom he may not."""

import ast
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ("mpi", "openmp_like", "cuda", "ddp")
OURS = [path for folder in (*TOPICS, "labs") for path in (ROOT / folder).glob("*.py")]


def test_no_topic_is_a_package_of_its_own() -> None:
    assert [path for topic in TOPICS for path in (ROOT / topic).rglob("__init__.py")] == []


def test_every_topic_explains_itself_and_is_linked() -> None:
    for topic in TOPICS:
        assert (ROOT / topic / "README.md").stat().st_size > 200
        assert (ROOT / "labs" / "parlab" / topic).resolve() == ROOT / topic


def test_no_file_is_named_like_a_standard_module_or_an_installed_package() -> None:
    installed = {name for names in importlib.metadata.packages_distributions() for name in [names]} - {"parlab"}
    later = {"annotationlib", "compression"}  # standard modules since Python 3.14
    taken = {path.stem for path in OURS} & (set(sys.stdlib_module_names) | later | installed)
    assert taken == set()


IMPORTS = "import cuda.pathfinder, numba, mpi4py, numpy; import parlab.mpi.bcast; assert 'site-packages' in cuda.pathfinder.__file__"


@pytest.mark.parametrize("way", ["-c", "-m", "script", "pytest"])
def test_nvidias_cuda_and_all_dependencies_import_from_the_root(way: str, tmp_path: Path) -> None:
    text = IMPORTS + "\ntry:\n    import torch\nexcept ModuleNotFoundError:\n    pass\n"
    script = tmp_path / "imports_everything.py"
    script.write_text(text)
    (tmp_path / "test_imports.py").write_text(
        "def test_it():\n" + "".join(f"    {line}\n" for line in text.splitlines())
    )
    command = {
        "-c": ["-c", text],
        "-m": ["-m", "imports_everything"],
        "script": [str(script)],
        "pytest": ["-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_imports.py")],
    }[way]
    path = os.pathsep.join([str(tmp_path), *sys.path[1:]]) if way == "-m" else os.environ.get("PYTHONPATH", "")
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_init_file_in_cuda_would_hide_nvidias_package(tmp_path: Path) -> None:
    """The mutant of the test above: it shows that the test can fail."""
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda" / "__init__.py").touch()
    done = subprocess.run([sys.executable, "-c", "import cuda.pathfinder"], cwd=tmp_path, capture_output=True)
    assert done.returncode != 0


def imported(path: Path) -> set[str]:
    """The names of ours that a file imports: `parlab.mpi.bcast` for `from parlab.mpi import bcast`."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.startswith("parlab")}


def test_topics_know_only_themselves_and_the_shared_part_knows_no_topic_and_no_experiment() -> None:
    for topic in TOPICS:
        for path in (ROOT / topic).glob("*.py"):
            assert {name for name in imported(path) if not name.startswith(f"parlab.{topic}.")} == set(), path
    for path in (ROOT / "labs" / "parlab").glob("*.py"):
        assert {name for name in imported(path) if name.split(".")[1] in (*TOPICS, "experiments")} == set(), path


def test_topics_neither_time_nor_print() -> None:
    for topic in TOPICS:
        for path in (ROOT / topic).glob("*.py"):
            tree = ast.parse(path.read_text())
            called = {
                node.func.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }
            assert "print" not in called, path
            assert not {"time", "argparse"} & {
                a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names
            }, path


def test_the_catalogue_and_the_scripts_agree() -> None:
    from parlab.catalogue import labs, topics

    assert {lab.script for lab in labs().values()} == set((ROOT / "labs").glob("*.py"))
    assert set(topics()) == {*TOPICS, "contrast"}  # which has no folder: its labs use those of all


def test_listing_the_labs_loads_nothing_heavy() -> None:
    code = "import sys; sys.argv = ['parlab', 'list']\ntry:\n import parlab.cli; parlab.cli.main()\nexcept SystemExit: pass\n"
    code += "print({'numpy', 'scipy', 'torch', 'matplotlib', 'mpi4py.MPI', 'rich', 'numba'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
