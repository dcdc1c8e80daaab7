"""Layers by themselves do what they do within the chain; on two devices a chain has the gradients that it has on one."""

import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor

from parlab.ddp import corpus, uneven
from parlab.ddp.training import Recipe
from parlab.ddp.two_devices import Copies, TwoDevices
from parlab.ddp.uneven import Apart, Sizes

SIZES, CPU = Sizes(narrow=8, vocabulary=64, context=8), torch.device("cpu")


def batch() -> tuple[Tensor, Tensor]:
    return corpus.passages(0, 3, SIZES.context, SIZES.vocabulary)


def gradients(net: torch.nn.Module) -> dict[str, Tensor]:
    inputs, targets = batch()
    net.zero_grad()
    Recipe().loss(net, inputs, targets, targets.numel()).backward()
    return {name: w.grad.cpu() for name, w in net.named_parameters() if w.grad is not None}


def test_every_layer_alone_has_the_gradients_that_it_has_within_the_chain() -> None:
    model = uneven.chain(SIZES)
    inputs, targets = batch()
    apart = Apart(model, Recipe(), inputs, targets, of=2 * targets.numel())
    assert len(uneven.names(model)) == uneven.LAYERS == len(model.layers)
    assert sum(uneven.weights(model)) == sum(w.numel() for w in model.parameters())
    for place in range(uneven.LAYERS):
        apart.run(place)
        assert apart.wrong(place) is None
    apart.gradients[3] = torch.ones_like(apart.given[4])
    assert str(apart.wrong(3)).endswith("gradients differ from those within the chain")


@pytest.mark.parametrize("count", [0, 1, 7, uneven.LAYERS])
def test_two_devices_are_one_chain(count: int) -> None:
    check_two_devices(count, CPU)


@pytest.mark.gpu
def test_cpu_and_gpu_are_one_chain(gpu: None) -> None:
    for count in (0, 1, 7, uneven.LAYERS):
        check_two_devices(count, torch.device("cuda"))


def check_two_devices(count: int, then: torch.device) -> None:
    wanted, net = gradients(uneven.chain(SIZES)), TwoDevices(uneven.chain(SIZES), count, CPU, then)
    devices = [next(layer.parameters()).device.type for layer in net.layers]
    assert devices == ["cpu"] * count + [then.type] * (uneven.LAYERS - count)
    found = gradients(net)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4)
    inputs, _ = batch()
    assert net(inputs).shape == (3, SIZES.context, SIZES.vocabulary)


def test_what_crosses_is_an_activation_and_its_gradient_and_tokens_have_none() -> None:
    inputs, targets = batch()
    apart = Apart(uneven.chain(SIZES), Recipe(), inputs, targets, of=targets.numel())
    copies = Copies(apart.given, CPU, CPU)
    for count in range(uneven.LAYERS + 1):
        copies.run(count)
    assert [x.dtype for x in copies.there[:2]] == [torch.int64, torch.float32]
    assert len(copies.there) == uneven.LAYERS
