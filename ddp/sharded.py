"""ZeRO by hand: data parallel training in which each worker keeps a share of what all of them would else hold alike.

Plain data parallel training with Adam in float32 holds 16 bytes a parameter on each of p workers: weight 4, gradient 4, two moments 8.

    ZeRO1   keeps 1/p of the moments     8 + 8/p    sends what an all-reduce of the gradients sends, 2 (p-1)/p of their bytes
    ZeRO2   and 1/p of the gradients     4 + 12/p   the same
    ZeRO3   and 1/p of the weights       16/p       half as much again, 3 (p-1)/p: weights are gathered twice

The unit of ZeRO1 is the whole network, that of the others a layer; a weight that several layers share belongs to the first of them, frozen
weights stay whole everywhere. Optimizers here work element by element, so that each worker can step its own parts.

Source: Rajbhandari et al., ZeRO: Memory optimizations toward training trillion parameter models, 2020, sections 5 and 7.
"""

from collections import Counter
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from parlab.ddp.models import Chain
from parlab.ddp.training import Held, Recipe, copies, held, share, squares
from parlab.ddp.units import Aside, Unit, Wait, memory


class ZeRO1:
    """All weights and gradients are on every worker, the optimizer's state is not. One message a step in either direction."""

    def __init__(self, model: Chain, recipe: Recipe, group: dist.ProcessGroup) -> None:
        self.model, self.recipe, self.group = model, recipe, group
        self.units = [Unit(weights, group) for weights in self.cut()]
        self.optimizer = recipe.optimizer_for([unit.mine for unit in self.units])
        self.prepare()

    def cut(self) -> list[list[nn.Parameter]]:
        """Return the weights of each unit."""
        return [[w for w in self.model.parameters() if w.requires_grad]]

    def prepare(self) -> None:
        """Have backward add up the gradients side by side, so that one message can take them."""
        (unit,) = self.units
        self.gradient = torch.zeros_like(unit.whole)
        for w, piece in unit.views(self.gradient):
            w.grad = piece

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step on a global batch; return this worker's part of its mean loss."""
        rank, p = self.group.rank(), self.group.size()
        loss = self.recipe.loss(self.model, share(inputs, rank, p), share(targets, rank, p), of=targets.numel())
        loss.backward()
        self.reduce()
        clip([unit.mine.grad for unit in self.units if unit.mine.grad is not None], self.recipe, self.group)
        self.optimizer.step()
        self.spread()
        return loss.detach()

    def reduce(self) -> None:
        """Let each unit have its part of the gradient, summed."""
        self.units[0].reduce(self.gradient)
        self.gradient.zero_()

    def spread(self) -> None:
        """Bring the stepped weights to all workers."""
        self.optimizer.zero_grad()  # this part of the gradient is there twice; the whole one stays
        self.units[0].gather(self.units[0].whole)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of all weights by name."""
        return copies(self.model.named_parameters())

    def held(self) -> Held:
        """Return the memory behind weights, gradients and the optimizer's state, wherever it is."""
        weights = [x for unit in self.units for x in (unit.whole, unit.mine)]
        gradients = [w.grad for unit in self.units for w in (*unit.weights, unit.mine) if w.grad is not None]
        return Held(memory(weights), memory(gradients), held([], self.optimizer).optimizer)


class ZeRO2(ZeRO1):
    """As soon as a layer's gradients are there they are summed over the workers, while backward goes on, and all but a part is freed."""

    def cut(self) -> list[list[nn.Parameter]]:
        """Return the trained weights of each layer that no layer before it has."""
        owner = {w: layer for layer in reversed(self.model.layers) for w in layer.parameters() if w.requires_grad}
        units = [[w for w in layer.parameters() if owner.get(w) is layer] for layer in self.model.layers]
        return [weights for weights in units if weights]

    def prepare(self) -> None:
        """Have backward say when a gradient is complete. The hooks stay with the model: one model for one object."""
        self.aside = Aside(self.units[0].whole.device)
        self.last: Wait = lambda: None
        self.missing = Counter({unit: len(unit.weights) for unit in self.units})
        for unit in self.units:
            for w in unit.weights:
                w.register_post_accumulate_grad_hook(partial(self.complete, unit))

    def complete(self, unit: Unit, _: Tensor) -> None:
        """Be called by backward for each gradient, in the same order on all workers; send a unit's after the last of them."""
        self.missing[unit] -= 1
        if not self.missing[unit]:
            self.send(unit)

    def send(self, unit: Unit) -> None:
        """Begin to sum the gradients of a unit, when those of the one before it are through: else gradients could pile up."""
        gradient = torch.cat([w.grad.flatten() for w in unit.weights if w.grad is not None]).to(unit.mine.dtype)
        for w in unit.weights:
            w.grad = None
        self.last()
        self.last = self.aside.begin(partial(unit.reduce, gradient), gradient)

    def reduce(self) -> None:
        """Wait for the last sum. Raises ValueError on all workers where a gradient did not come: its unit was not summed."""
        if left := self.missing.total():
            raise ValueError(f"{left} trained parameters got no gradient: freeze what the loss ignores")
        self.missing.update({unit: len(unit.weights) for unit in self.units})
        self.last()

    def spread(self) -> None:
        """Bring the stepped weights to all workers, layer by layer."""
        for unit in self.units:
            unit.gather(unit.whole)


class ZeRO3(ZeRO2):
    """A layer is whole only while it computes: it is gathered before its forward pass, and again before its backward pass.

    The layer that follows is gathered meanwhile. With autocast weights are gathered in bfloat16, which halves those bytes, and gradients
    still summed in float32.
    """

    def prepare(self) -> None:
        """Free the layers; have each gathered before it computes and freed after."""
        super().prepare()
        for unit in self.units:
            unit.mine.data = unit.mine.detach().clone()
            unit.show(unit.whole.bfloat16() if self.recipe.autocast else unit.whole)
            unit.whole.untyped_storage().resize_(0)
        self.here: dict[Unit, Wait] = {}  # the units that are whole, or will be
        owner = {w: unit for unit in self.units for w in unit.weights}
        layers = self.model.layers
        self.needs = [list(dict.fromkeys(owner[w] for w in layer.parameters() if w in owner)) for layer in layers]
        for i, layer in enumerate(layers):
            layer.register_forward_pre_hook(partial(self.before_forward, i))
            layer.register_forward_hook(partial(self.after_forward, i))

    def before_forward(self, i: int, *_: object) -> None:
        """Gather layer i, and begin with the one after it."""
        self.fetch(i, i + 1)

    def after_forward(self, i: int, _layer: nn.Module, _inputs: object, output: Tensor) -> None:
        """Free layer i; when the gradient of its output is there, gather it again, and begin with the one before it."""
        self.free(self.needs[i])
        if output.requires_grad:
            output.register_hook(lambda _: self.fetch(i, i - 1))

    def fetch(self, i: int, following: int) -> None:
        """Have the weights of layer i now, and those of another one soon."""
        for unit in self.needs[i]:
            self.start(unit)
        for unit in self.needs[i]:
            self.here[unit]()
        if 0 <= following < len(self.needs):
            for unit in self.needs[following]:
                self.start(unit)

    def start(self, unit: Unit) -> None:
        """Begin to gather a unit that is not here."""
        if unit not in self.here:
            self.here[unit] = self.aside.begin(partial(self.gather, unit))

    def gather(self, unit: Unit) -> None:
        """Make a unit whole, in the same storage as before: autograd has kept views of it for the backward pass."""
        unit.whole.untyped_storage().resize_(unit.whole.nbytes)
        unit.gather(unit.whole)

    def free(self, units: list[Unit]) -> None:
        """Give the memory of these units back."""
        for unit in units:
            del self.here[unit]
            unit.whole.untyped_storage().resize_(0)

    def send(self, unit: Unit) -> None:
        """Free the weights too: they are needed last where the last of their gradients is computed."""
        super().send(unit)
        self.free([unit])

    def spread(self) -> None:
        """Leave the stepped weights where they are."""

    def weights(self) -> dict[str, Tensor]:
        """Return copies of all weights by name, gathered in their own type."""
        flat = {unit: torch.empty_like(unit.whole, dtype=unit.mine.dtype) for unit in self.units}
        whole = {w: piece for unit in self.units for w, piece in unit.views(unit.gather(flat[unit]))}
        return copies((name, whole.get(w, w)) for name, w in self.model.named_parameters())


def clip(gradients: list[Tensor], recipe: Recipe, group: dist.ProcessGroup) -> None:
    """Cut gradients, of which each worker has its own part, to the recipe's global norm."""

    def norm() -> Tensor:
        total = squares(gradients)
        dist.all_reduce(total, group=group)
        return total.sqrt()

    recipe.cut(gradients, norm)
