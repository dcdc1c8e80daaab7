"""A grid that does not fit the GPU, cut into tiles of rows that fit, each swept several times while it is there. No GPU is needed.

A visit of a tile brings its rows and as many ghost rows on both sides as it does steps; each step sweeps a row less on either side, because
what lies further out is not known for that time. The last step leaves just the tile's own rows, which go back:

    rows brought      g g g|t t t t t t|g g g        3 steps: each row crosses the link once for three sweeps,
    after step 1        s s|s s s s s s|s s          and three rows more on each side are brought, one or two of them swept, for nothing
    after step 2          s|s s s s s s|s
    after step 3           |s s s s s s|

Source: time skewing by overlapped tiles, e.g. Holewinski, Pouchet, Sadayappan, ICS 2012.
"""

from dataclasses import dataclass

from parlab.cuda.plan import parts

ARRAYS = 2  # each step reads one and writes the other
BYTES = 8  # of a point


@dataclass(frozen=True)
class Tile:
    """Rows first to stop - 1 of the grid's inner rows, which count from 1. A visit brings rows top to bottom - 1.

    sweeps: for each step of a visit the rows swept, from and up to, counted from `top`. near: tiles that have rows which this one brings.
    """

    first: int
    stop: int
    top: int
    bottom: int
    sweeps: tuple[tuple[int, int], ...]
    near: tuple[int, ...]


def height(budget: int, pitch: int, steps: int, slots: int) -> int:
    """Return how many rows of its own a tile may have, so that `slots` tiles with their ghost rows take at most `budget` bytes.

    pitch: points from row to row. ValueError where not even a row fits.
    """
    of_row = ARRAYS * BYTES * pitch * slots
    rows = budget // of_row - 2 * steps
    if rows < 1:
        least = (1 + 2 * steps) * of_row
        raise ValueError(f"{budget} bytes hold no tile: {slots} with {2 * steps} ghost rows each take {least} at least")
    return rows


def tiles(rows: int, most: int, steps: int) -> list[Tile]:
    """Cut the inner rows 1 to `rows` into tiles of at most `most` rows, for visits of so many steps. ValueError for numbers below 1."""
    if steps < 1 or most < 1:
        raise ValueError(f"at least one row and one step: {most}, {steps}")
    cuts = [(part.start + 1, part.stop + 1) for part in parts(rows, -(-rows // most))]
    found = []
    for first, stop in cuts:
        top, bottom = max(0, first - steps), min(rows + 2, stop + steps)
        ranges = [(max(1, first - left), min(rows + 1, stop + left)) for left in reversed(range(steps))]
        near = tuple(i for i, (begin, end) in enumerate(cuts) if begin < bottom and top < end)
        found.append(Tile(first, stop, top, bottom, tuple((begin - top, end - top) for begin, end in ranges), near))
    return found


def swept_for_nothing(cut: list[Tile]) -> float:
    """Return how many rows are swept more often than needed, as a share of those needed."""
    swept = sum(end - begin for tile in cut for begin, end in tile.sweeps)
    return swept / sum((tile.stop - tile.first) * len(tile.sweeps) for tile in cut) - 1
