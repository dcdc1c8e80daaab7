"""Every kernel compiles: by nvcc or NVRTC where one of them is here, for GPUs of two generations."""

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).resolve().parents[1] / "cuda").glob("*.cu"))
CAPABILITIES = (80, 90)  # Ampere, Hopper


def named(source: Path) -> list[str]:
    return re.findall(
        r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?((?!__)\w+)\(', source.read_text()
    )


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.name))
def test_every_kernel_is_asked_for_somewhere(source: Path) -> None:
    """A kernel that nobody launches is dead code; one that is misspelt is not found before it runs."""
    launched = "".join(path.read_text() for path in source.parent.glob("*.py"))
    assert named(source)
    assert [name for name in named(source) if f'"{name}"' not in launched] == []


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.name))
def test_nvcc_compiles_it_without_a_word(source: Path, capability: int, tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("no nvcc")
    asked = ["nvcc", f"-arch=sm_{capability}", "-std=c++17", "-cubin", "-o", str(tmp_path / "out.cubin"), str(source)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.name))
def test_nvrtc_compiles_it_as_cupy_asks(source: Path, capability: int) -> None:
    if find_spec("cupy") is None:
        pytest.skip("no CuPy")
    from cupy.cuda import nvrtc

    try:
        program = nvrtc.createProgram(source.read_text(), source.name, (), ())
    except RuntimeError as error:
        pytest.skip(f"no NVRTC: {error}")
    nvrtc.compileProgram(program, (f"--gpu-architecture=sm_{capability}", "--std=c++17"))
    nvrtc.destroyProgram(program)
