"""Kernels and bytes of what runs on a device, operator by operator."""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

# They start no kernel.
_VIEWS = frozenset(
    [
        '_reshape_alias',
        '_unsafe_view',
        'alias',
        'as_strided',
        'detach',
        'device',
        'empty',
        'empty_like',
        'empty_strided',
        'expand',
        'is_pinned',
        'lift_fresh',
        'new_empty',
        'new_empty_strided',
        'permute',
        'reshape',
        'select',
        'slice',
        'split',
        'split_with_sizes',
        'squeeze',
        'squeeze_',
        't',
        'transpose',
        'unbind',
        'unfold',
        'unsqueeze',
        'unsqueeze_',
        'view',
    ]
)


class Count(TorchDispatchMode):
    """Counts while it is entered: each operator reads its inputs and writes its outputs once.

    An operator is one kernel, and what it reads is never in a cache. Of a convolution's backward
    pass each gradient reads the output's gradient.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.flops: Counter[str] = Counter()
        self.to_host: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._schema.name.partition('::')[2]
        inputs = _tensors((args, kwargs))
        outputs = _tensors(out)
        on_device = [t.device.type == 'cuda' for t in (*inputs, *outputs)]
        if any(on_device) and not all(on_device):
            self.to_host[name] += 1
        if name in _VIEWS or not any(on_device):
            return out
        self.kernels[name] += 1
        self.bytes[name] += _moved(func, args, kwargs, outputs)
        if func.overloadpacket in flop_registry:
            self.flops[name] += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        return out

    def total(self) -> dict[str, float]:
        """Kernels, gigabytes and TFLOP."""
        return dict(
            kernels=sum(self.kernels.values()),
            gigabytes=round(sum(self.bytes.values()) / 1e9, 2),
            tflop=round(sum(self.flops.values()) / 1e12, 3),
        )

    def table(self) -> str:
        """The operators, those that move the most bytes first."""
        return '\n'.join(
            f'{name:32s} {self.kernels[name]:5d} kernels {moved / 1e9:7.2f} GB'
            for name, moved in self.bytes.most_common()
        )


def _tensors(tree: object) -> list[Tensor]:
    found = {id(leaf): leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}
    return list(found.values())


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _moved(func: torch._ops.OpOverload, args: tuple, kwargs: dict, outputs: list[Tensor]) -> int:
    name = func._schema.name.partition('::')[2]
    written = {argument.name for argument in func._schema.arguments if argument.is_out}
    read = _tensors((args, {k: v for k, v in kwargs.items() if k not in written}))
    moved = sum(map(_size, outputs))
    if name in ('zero_', 'fill_') or name.startswith('new_') or name.endswith('_like'):
        return moved
    if name == 'copy_':
        return _size(args[0]) + _size(args[1])
    if name == 'convolution_backward' and list(args[-1][:2]) == [True, True]:
        moved += _size(args[0])
    return moved + sum(map(_size, read))
