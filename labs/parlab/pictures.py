"""Pictures that a lab makes as its result (pictures of records are drawn by the report)."""

from pathlib import Path

import numpy as np

from parlab.errors import ParlabError
from parlab.measure import Array


def write_counts(counts: Array, limit: int, path: Path) -> None:
    """Write escape counts (height, width) as a PNG: dark where a point leaves at once, bright near the set, black inside it."""
    from PIL import Image  # here: a rank must not load it to time a message

    level = np.log(counts + 1) / np.log(limit + 1)
    colours = np.stack([level**0.8, level**1.6, 0.35 + 0.65 * level**3], axis=-1) * (counts < limit)[..., None]
    try:
        Image.fromarray((255 * colours).astype(np.uint8)).save(path)
    except OSError as error:
        raise ParlabError(f"cannot write {path}: {error.strerror}") from None
