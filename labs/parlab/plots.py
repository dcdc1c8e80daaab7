"""The pictures of a lab, drawn from records, as files beside them: of its times, its findings and its timelines.

Timelines are written as a trace, too: a picture cannot be zoomed.
"""

from pathlib import Path

from parlab import machine, trace
from parlab.catalogue import Lab
from parlab.errors import ParlabError
from parlab.panels import MOST, curves, timelines, times
from parlab.records import Lanes, Run
from parlab.svg import Picture, combined, picture

Drawn = dict[str, list[Picture]]  # by what stands behind the lab's name in the name of the file


def pictures(lab: Lab, run: Run, most: int = MOST) -> Drawn:
    """Draw a lab's pictures, at most so many of a kind."""
    records = run.of(lab.id)
    kinds = {"": times(lab, records), "-curves": curves(records), "-timeline": timelines(records)}
    return {kind: [picture(panel) for panel in panels[:most]] for kind, panels in kinds.items() if panels}


def save(lab: Lab, run: Run, drawn: Drawn, folder: Path) -> list[Path]:
    """Write folder/LAB.svg, LAB-curves.svg, LAB-timeline.svg and LAB-trace.json, each where there is something to show.

    Raises ParlabError when a file cannot be written.
    """
    foot = machine.one_line(run.header.get("machine", {}))
    texts = {kind: combined(found, lab.question, foot) for kind, found in drawn.items()}
    files = [_write(text, folder / f"{lab.id}{kind}.svg") for kind, text in texts.items()]
    kept = [r for r in run.of(lab.id) if isinstance(r, Lanes)]
    return [*files, trace.write(kept, folder / f"{lab.id}-trace.json")] if kept else files


def draw(lab: Lab, run: Run, folder: Path) -> list[Path]:
    """Draw a lab's pictures into files."""
    return save(lab, run, pictures(lab, run), folder)


def _write(text: str, path: Path) -> Path:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ParlabError(f"cannot write {path}: {error.strerror}") from None
    return path
