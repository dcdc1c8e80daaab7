"""Pipeline parallel training by hand: each worker runs its list of operations (schedules.py); activations go up, gradients come down.

Why nobody waits for ever: a send does not make its sender wait, and a receive waits for a message that the lists are known to send
(schedules.wrong). Each send is kept until it is done, for gloo drops a message whose handle is gone. On a CPU each receive
is begun one operation early: a message that is on time then comes in behind a computation. A GPU waits for a message by a kernel, which
would take room from that computation: there it is begun when it is needed. What messages look like is learnt once for each shape of a
batch (boundaries.py).
"""

import torch
import torch.distributed as dist
from torch import Tensor

from parlab.ddp.boundaries import Form, forms
from parlab.ddp.schedules import Operation
from parlab.ddp.stages import Stages

Message = tuple[dist.Work, Tensor]


class Pipeline(Stages):
    """A Trainer. Where a batch does not divide, its first micro-batches are a row longer than the others.

    Its parameters, and ValueError: see Stages.
    """

    def prepare(self, schedule: str) -> None:
        """Know of no messages yet."""
        self.known: dict[torch.Size, dict[int, Form]] = {}

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Do one step; return the mean loss on the worker that has the last stage, 0 on the others."""
        self.of, self.loss = targets.numel(), torch.zeros((), device=self.device)
        self.inputs, self.targets = (x.tensor_split(self.micro_batches) for x in self.share(inputs, targets))
        if inputs.shape not in self.known:
            self.known[inputs.shape] = forms(self, self.inputs, self.targets)
        self.forms = self.known[inputs.shape]
        self.live: dict[Operation, tuple[Tensor, Tensor]] = {}  # by forward pass: what went in, and what came out
        self.coming: dict[Operation, Message] = {}  # by the operation that needs it
        self.going: dict[Operation, Message] = {}  # by the operation that made it
        self.optimizer.zero_grad()

        early = self.device.type == "cpu"
        for operation, following in zip(self.operations, [*self.operations[1:], None], strict=True):
            if operation not in self.coming:
                self._expect(operation)
            if early and following:
                self._expect(following)
            try:
                self.forward(operation) if operation.kind == "F" else self.backward(operation)
            except RuntimeError as error:
                raise RuntimeError(f"rank {self.rank} of the pipeline, {operation}: {error}") from error
        while self.going:
            self.going.popitem()[1][0].wait()
        self.update()
        return self.loss

    def forward(self, operation: Operation) -> None:
        """Run a micro-batch forward through a stage, and send on what comes out."""
        s = self._stage(operation)
        x = self._received(operation).requires_grad_() if s > 0 else self.inputs[operation.micro_batch]
        with self.span(operation):
            if s == self.count - 1:
                y = self.stages[s](x, self.targets[operation.micro_batch]) / self.of
                self.loss += y.detach()
            else:
                y = self.stages[s](x)
        self.live[operation] = x, y
        if s < self.count - 1:
            self.send(operation, y.detach(), s + 1)

    def backward(self, operation: Operation) -> None:
        """Run the gradient of a micro-batch back through a stage, and send on that of what had gone in."""
        s, forward = self._stage(operation), operation._replace(kind="F")
        gradient = None
        if s < self.count - 1:
            gradient = self._received(operation)
            self.going.pop(forward)[0].wait()  # at no cost: what went up has arrived, since its gradient came down
        x, y = self.live.pop(forward)
        with self.span(operation):
            if y.requires_grad:  # not in a first stage whose weights are all frozen
                torch.autograd.backward(y, gradient)
        if s > 0:
            assert x.grad is not None
            self.send(operation, x.grad, s - 1)

    def send(self, operation: Operation, tensor: Tensor, stage: int) -> None:
        """Begin to send what an operation made to a stage."""
        tensor = tensor.contiguous()
        self.going[operation] = self.isend(tensor, stage % self.p), tensor

    def _expect(self, operation: Operation) -> None:
        """Begin to receive what an operation needs, if another rank sends it."""
        s = self._stage(operation)
        source, boundary = (s - 1, s) if operation.kind == "F" else (s + 1, s + 1)
        if 0 <= source < self.count:
            shape, dtype = self.forms[boundary]
            buffer = torch.empty(len(self.inputs[operation.micro_batch]), *shape, dtype=dtype, device=self.device)
            self.coming[operation] = self.irecv(buffer, source % self.p), buffer

    def _received(self, operation: Operation) -> Tensor:
        work, buffer = self.coming.pop(operation)
        work.wait()
        return buffer

    def _stage(self, operation: Operation) -> int:
        return operation.chunk * self.p + self.rank
