"""ElementwiseKernel, compiled to a loop over the elements; and fuse, which makes one kernel of a function of arrays."""

import re
from collections.abc import Callable
from functools import partial, update_wrapper
from math import prod
from typing import Any

import numpy as np

from ._array import computed, kernel, ndarray
from ._kernels import RawKernel

C_TYPES = {"float32": "float", "float64": "double", "bool": "bool", "int8": "signed char", "uint8": "unsigned char"} | {
    f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (16, 32, 64)
}
BLOCK = 128


class ElementwiseKernel:
    """A loop body over arrays of one shape. Parameters: "T x, raw float32 y"; in the body x is an element, a raw y the whole array."""

    def __init__(self, in_params: str, out_params: str, operation: str, name: str = "kernel", **flags: object) -> None:
        if flags:
            raise NotImplementedError(f"the stand-in's ElementwiseKernel has no {', '.join(flags)}")
        self.ins, self.outs = _parameters(in_params), _parameters(out_params)
        self.operation, self.name = operation, name

    def __call__(self, *args: Any, size: int | None = None) -> Any:
        """Run it on inputs, and outputs if given. Scalars are taken for any input; arrays must be contiguous and of one shape."""
        parameters = self.ins + self.outs
        values = list(args)
        arrays = [v for v, (raw, _, _) in zip(values, parameters, strict=False) if isinstance(v, ndarray) and not raw]
        shapes = {a.shape for a in arrays}
        if len(shapes) > 1 or not all(a.flags.c_contiguous for a in values if isinstance(a, ndarray)):
            raise NotImplementedError("the stand-in's ElementwiseKernel wants contiguous arrays of one shape")
        types = self._types(values)
        shape: tuple[int, ...] = shapes.pop() if shapes else (size or 1,)
        for _, kind, _ in parameters[len(values) :]:
            values.append(ndarray(shape, types.get(kind, kind)))
        threads = size if size is not None else prod(shape)
        made = RawKernel(self._source(values, types), self.name)
        if threads:
            scalars = [
                v if isinstance(v, ndarray) else np.dtype(types.get(kind, kind)).type(v)
                for v, (_, kind, _) in zip(values, parameters, strict=True)
            ]
            made((-(-threads // BLOCK),), (BLOCK,), (np.int64(threads), *scalars))
        results = values[len(self.ins) :]
        return results[0] if len(results) == 1 else tuple(results)

    def _types(self, values: list[Any]) -> dict[str, Any]:
        """Return what the letters stand for: arrays decide, else scalars."""
        types: dict[str, Any] = {}
        for wanted in (True, False):
            for value, (_, kind, _) in zip(values, self.ins + self.outs, strict=False):
                if isinstance(value, ndarray) is wanted and kind not in C_TYPES:
                    types.setdefault(kind, value.dtype if wanted else np.asarray(value).dtype)
        return types

    def _source(self, values: list[Any], types: dict[str, Any]) -> str:
        heads, body = ["long long _n"], []
        for value, (raw, kind, name) in zip(values, self.ins + self.outs, strict=True):
            c = C_TYPES[np.dtype(types.get(kind, kind)).name]
            array = isinstance(value, ndarray)
            heads.append(f"{c} *{name}" if raw else f"{c} *_{name}" if array else f"{c} {name}")
            if array and not raw:
                body.append(f"{c} &{name} = _{name}[i];")
        letters = "".join(f"typedef {C_TYPES[np.dtype(t).name]} {letter};" for letter, t in types.items())
        index = "long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; if (i >= _n) return;"
        return f"__global__ void {self.name}({', '.join(heads)}) {{ {index} {letters} {' '.join(body)} {self.operation}; }}"


def _parameters(text: str) -> list[tuple[bool, str, str]]:
    """Return whether it is raw, the type or letter, and the name of each parameter."""
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        words = re.fullmatch(r"(raw\s+)?(\w+)\s+(\w+)", part)
        if words is None:
            raise ValueError(f"a parameter of an ElementwiseKernel is '[raw] TYPE NAME': {part}")
        found.append((bool(words[1]), words[2], words[3]))
    return found


def fuse(*args: Any, **kwargs: Any) -> Any:
    """Make one kernel of a function of arrays and scalars: @fuse, @fuse() or @fuse(kernel_name=...)."""
    if args and callable(args[0]):
        return _fused(args[0], kwargs.get("kernel_name"))
    return partial(_fused, name=kwargs.get("kernel_name"))


def _fused(function: Callable[..., Any], name: str | None = None) -> Callable[..., Any]:
    title = name or str(getattr(function, "__name__", "fused"))

    def fused(*args: Any) -> Any:
        small = [np.ones((1,) * a.ndim, a.dtype) if isinstance(a, ndarray) else a for a in args]
        with np.errstate(all="ignore"):
            result = function(*small)
        if result is not None:
            return computed(title, function, args)
        hosts = [a.on_host if isinstance(a, ndarray) else a for a in args]
        return kernel(title, max(a.size for a in args if isinstance(a, ndarray)), partial(function, *hosts))

    return update_wrapper(fused, function)
