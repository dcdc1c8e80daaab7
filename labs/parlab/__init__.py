"""parlab: measure, verify and explain parallel programs on the machine at hand."""

from pathlib import Path

__version__ = "0.1.0"

# A clone without symbolic links (core.symlinks=false) has text files where the topic links should be:
# then the topics are found in the repository's root instead.
_here = Path(__file__).resolve().parent
if not (_here / "mpi").is_dir():
    __path__.append(str(_here.parents[1]))
