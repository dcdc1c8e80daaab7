"""Devices, as cupy.cuda.device has them."""

from typing import Any, Self

from . import runtime
from ._devices import ATTRIBUTES


class Device:
    """A device by number (else the current one); `with` makes it current for a while."""

    def __init__(self, device: "int | Device | None" = None) -> None:
        self.id = runtime.getDevice() if device is None else int(device)
        self._before: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"

    def __enter__(self) -> Self:
        self._before.append(runtime.getDevice())
        self.use()
        return self

    def __exit__(self, *_: object) -> None:
        runtime.setDevice(self._before.pop())

    def use(self) -> None:
        """Make it the thread's device. CUDARuntimeError (101) where there is none of this number."""
        runtime.setDevice(self.id)

    def synchronize(self) -> None:
        """Wait for all that was issued to it."""
        with self:
            runtime.deviceSynchronize()

    @property
    def compute_capability(self) -> str:
        """Major and minor number as one text."""
        return f"{runtime.deviceGetAttribute(75, self.id)}{runtime.deviceGetAttribute(76, self.id)}"

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and all bytes."""
        with self:
            return runtime.memGetInfo()

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes by name, without CUDA's prefix."""
        return {name: runtime.deviceGetAttribute(number, self.id) for name, (number, _, _) in ATTRIBUTES.items()}

    @property
    def pci_bus_id(self) -> str:
        """Domain, bus and device."""
        return runtime.deviceGetPCIBusId(self.id)
