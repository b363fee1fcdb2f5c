"""A backbone's forward and backward pass as CUDA graphs, which replay without Python.

A training step of ConvNeXt-T launches some 500 kernels. Where Python takes longer to launch them
than the GPU to run them, replaying a recording saves the difference.

Source: PyTorch's notes on CUDA semantics, section "CUDA Graphs".
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.module import _has_any_global_hook

from mmconvnext.backbones.forms import is_traced

Forward = Callable[[Tensor], tuple[Tensor, ...]]
# Calls of a kind before it is recorded: kernels must have been loaded and chosen by then.
WARM_UP = 3
# Each holds the memory of a whole pass. Kinds beyond these run as if there were no graphs.
MOST_GRAPHS = 4
_MOST_COUNTED = 256


class _Kind(NamedTuple):
    """The kind of call that a recording is valid for; another kind needs another recording."""

    shape: torch.Size
    dtype: torch.dtype
    device: torch.device
    autocast: torch.dtype | None
    learns: tuple[bool, ...]  # each parameter, in a call with gradients
    training: tuple[bool, ...]  # each module
    inference: bool

    @classmethod
    def of(cls, module: nn.Module, x: Tensor) -> Self:
        return cls(
            shape=x.shape,
            dtype=x.dtype,
            device=x.device,
            autocast=_autocast(x),
            learns=tuple(_learns(module)),
            training=tuple(one.training for one in module.modules()),
            inference=torch.is_inference_mode_enabled(),
        )


def _learns(module: nn.Module) -> Iterator[bool]:
    if torch.is_grad_enabled():
        yield from (parameter.requires_grad for parameter in module.parameters())


def _autocast(x: Tensor) -> torch.dtype | None:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class CUDAGraphs:
    """Calls a module's forward, from a recording after enough calls of the same kind.

    Results and gradients are those of the plain call, in memory of their own. Calls that cannot be
    recorded run plainly: not on CUDA, with gradients of the input, with hooks inside, under a
    compiler or within another recording. A copy or a pickle of it is empty.
    """

    def __init__(self) -> None:
        self._calls: Counter[_Kind] = Counter()
        self._graphs: dict[_Kind, _Graph] = {}
        self._weights: list[int] = []

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()

    def __call__(self, module: nn.Module, forward: Forward, x: Tensor) -> tuple[Tensor, ...]:
        """Return what ``forward`` returns; it calls ``module`` and nothing else.

        Raises:
            RuntimeError: a forward pass came between a forward pass and its backward pass.
        """
        if not can_record(module, x):
            return forward(x)
        weights = [parameter.data_ptr() for parameter in module.parameters()]
        if weights != self._weights:  # moved or replaced: recordings read the old ones
            self._graphs.clear()
            self._weights = weights
        kind = _Kind.of(module, x)
        if kind not in self._graphs:
            if not self._is_due(kind):
                return forward(x)
            learns = zip(module.parameters(), kind.learns)  # nothing without gradients
            self._graphs[kind] = _Graph(forward, x, [one for one, learn in learns if learn])
        return self._graphs[kind](x)

    def _is_due(self, kind: _Kind) -> bool:
        if len(self._graphs) >= MOST_GRAPHS:
            return False
        if len(self._calls) >= _MOST_COUNTED:  # sizes that hardly come twice
            self._calls.clear()
        self._calls[kind] += 1
        return self._calls[kind] > WARM_UP


def can_record(module: nn.Module, x: Tensor) -> bool:
    """Return whether a call of a module may be recorded or replayed."""
    return (
        x.is_cuda
        and type(x) is Tensor  # a fake one has no memory
        and x.device.index == torch.cuda.current_device()
        and not x.requires_grad
        and not is_traced(x)
        and not torch.cuda.is_current_stream_capturing()
        and not _has_any_global_hook()
        and not any(map(_has_hooks, module.children()))
    )


def _has_hooks(module: nn.Module) -> bool:
    return any(
        one._forward_hooks
        or one._forward_pre_hooks
        or one._backward_hooks
        or one._backward_pre_hooks
        for one in module.modules()
    )


class _Graph:
    """One recording: a forward pass and, with ``parameters``, its backward pass.

    Both share a pool of memory, in which what the backward pass reads stays until the next replay.
    """

    def __init__(self, forward: Forward, x: Tensor, parameters: list[nn.Parameter]) -> None:
        self.image = x.detach().clone()
        self.parameters = parameters
        self.turn = 0  # of forward passes
        self._live: list[Tensor] = []
        self.maps: tuple[Tensor, ...]
        self.learns: tuple[bool, ...]
        self.of_parameters: tuple[Tensor | None, ...]

        def run_forward() -> tuple[Tensor, ...]:
            self._live = list(_forward_uncached(forward, self.image))
            return tuple(one.detach() for one in self._live)

        def run_backward() -> tuple[Tensor | None, ...]:
            roots = [y for y, learns in zip(self._live, self.learns) if learns]
            given = [g for g, learns in zip(self.of_maps, self.learns) if learns]
            return torch.autograd.grad(roots, parameters, given, allow_unused=True)

        self.maps, self._forward = record(run_forward)
        self.learns = tuple(one.requires_grad for one in self._live)  # not those of frozen stages
        if any(self.learns):
            self.of_maps = tuple(map(torch.empty_like, self.maps))
            self.of_parameters, self._backward = record(run_backward, self._forward.pool())
        self._live = []

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        if any(self.learns):
            return _Replay.apply(self, x, *self.parameters)
        return self.forward(x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        self.turn += 1
        self.image.copy_(x)
        self._forward.replay()
        return tuple(one.clone() for one in self.maps)

    def backward(self, of_maps: tuple[Tensor, ...]) -> Iterator[Tensor | None]:
        for kept, given in zip(self.of_maps, of_maps):
            kept.copy_(given)
        self._backward.replay()
        # Copied in few kernels: an accumulated gradient must outlive the next replay.
        found = [one for one in self.of_parameters if one is not None]
        copies = iter(torch._foreach_mul(found, 1))
        return (None if one is None else next(copies) for one in self.of_parameters)


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, graph: _Graph, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        maps = graph.forward(x)
        ctx.graph, ctx.turn = graph, graph.turn
        ctx.mark_non_differentiable(*(y for y, learns in zip(maps, graph.learns) if not learns))
        return maps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *of_maps: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.turn != ctx.graph.turn:
            raise RuntimeError(
                'ConvNeXt, cuda_graph: expected a backward pass before the next forward pass of '
                'the same size, got two forward passes first; leave cuda_graph out'
            )
        return None, None, *ctx.graph.backward(of_maps)


def _forward_uncached(forward: Forward, image: Tensor) -> tuple[Tensor, ...]:
    """Return the maps, with new casts of the weights: cached casts would not be recorded."""
    device, dtype = image.device.type, _autocast(image)
    with torch.autocast(device, dtype, enabled=dtype is not None, cache_enabled=False):
        return forward(image)


def record(run: Callable[[], tuple], pool: Any = None) -> tuple[tuple, Any]:
    """Return what ``run`` returned as it was recorded, and the graph that writes it anew."""
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on, such as one that pins the memory of the next batch.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode='thread_local'):
        results = run()
    return results, graph
