"""The matrix: every synchronous lossless mode, in every variant, is the single process after 20 steps."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")
from tests.parity import GPT, MLP, Make, classes, hybrids, off, refuses, variant

if TYPE_CHECKING:
    from parlab.workers import Workers

Features = tuple[str, ...]

# What a mode refuses, by a ValueError; all else must be right.
REFUSED = {
    "sequence": {"digits"},  # images are no sequences
    "data x sequence": {"digits"},
    "torch GPipe": {"uneven"},  # its micro-batches have one size
    "torch 1F1B": {"uneven"},
    "torch interleaved": {"uneven"},
    "local SGD": {"clipped"},  # nobody knows the norm of the global gradient
    "DiLoCo": {"clipped"},
}
REFUSED_BY_4 = REFUSED | {
    "tensor": {"digits"},  # 10 classes
    "DTensor": {"digits"},
    "interleaved": {"tied", "digits"},  # 4 layers in 8 stages
    "torch interleaved": {"tied", "digits"},
}
OTHER = {"local SGD": {"adam"}, "DiLoCo": {"adam"}}  # each worker's Adam keeps moments of its own: another algorithm

# One variant at a time. A gradient that is cut shows a wrong scale best where the step grows with it, which Adam's does not.
ALONE = (("uneven", "adam"), ("frozen", "adam"), ("tied", "adam"), ("clipped",))


def failures(
    modes: Mapping[str, Make], variants: Iterable[Features], refused: dict[str, set[str]], team: "Workers"
) -> dict[tuple[str, str], str]:
    """Return where a mode differs from the single process. What it refuses is left out of the variants, and must be refused by itself."""
    found: dict[tuple[str, str], str] = {}
    for mode, make in modes.items():
        no = refused.get(mode, set())
        for features in variants:
            kept = [feature for feature in features if feature not in no | OTHER.get(mode, set())]
            network_refused = "digits" in no if "digits" in features else "tied" in no
            if not network_refused and (told := off(make, variant(*kept), team)):
                found[mode, " ".join(kept)] = told
        for feature in no:
            if not refuses(make, variant(feature), team):
                found[mode, feature] = "is not refused"
    return found


@pytest.mark.timeout(300)
@pytest.mark.workers(2, timeout=240)
def test_every_mode_of_two_workers_is_the_single_process(team: "Workers") -> None:
    modes = {mode: make for each in classes(team.group) for mode, make in each.items()}
    assert failures(modes, (GPT, MLP, ("adam",)), REFUSED, team) == {}


@pytest.mark.workers(2)
def test_each_variant_alone_holds_in_each_class_of_modes(team: "Workers") -> None:
    for modes in classes(team.group):
        for k, features in enumerate(ALONE):
            able = [mode for mode in modes if REFUSED.get(mode, set()).isdisjoint(features) and mode not in OTHER]
            mode = able[k % len(able)]  # in turn
            assert off(modes[mode], variant(*features), team) is None, (mode, features)


@pytest.mark.timeout(300)
@pytest.mark.workers(4, timeout=240)
def test_every_mode_of_four_workers_is_the_single_process(team: "Workers") -> None:
    modes = {mode: make for each in [*classes(team.group), hybrids(team)] for mode, make in each.items()}
    for same_class in ("FSDP2 kept", "FSDP2 ring", "naive pipeline", "GPipe", "torch GPipe"):
        del modes[same_class]
    assert failures(modes, (GPT,), REFUSED_BY_4, team) == {}


@pytest.mark.gpu(2)
@pytest.mark.workers(2)
def test_every_mode_of_two_gpus_is_the_single_process(gpu: None, team: "Workers") -> None:
    modes = {mode: make for each in classes(team.group) for mode, make in each.items()}
    some = ("bucketed", "DDP", "ZeRO-3", "FSDP2", "tensor", "sequence", "DTensor", "1F1B", "torch 1F1B")
    assert failures({mode: modes[mode] for mode in some}, (GPT,), REFUSED, team) == {}
