"""Compile the kernels for GPUs that are not there.

``python -m tests.backbones.triton_kernels.build OUT.json CHANNELS …``
"""

import json
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmconvnext.backbones.triton_kernels import (
    activation,
    depthwise_norm,
    layer_norm,
    residual,
    weight_gradients,
    weights,
)

# Each with its warps, for a number of channels.
KERNELS = {
    depthwise_norm.convolve_and_normalize: lambda channels: max(_block(channels) // 256, 1),
    depthwise_norm.normalize_backward: lambda _: 4,
    depthwise_norm.convolve_turned: lambda _: 1,
    activation.activate: lambda _: 4,
    activation.sum_products: lambda _: 4,
    activation.gelu_backward: lambda _: 4,
    activation.respond: lambda _: 8,
    activation.respond_backward: lambda _: 8,
    residual.add_scaled: lambda _: 4,
    residual.scale_and_sum: lambda _: 4,
    weights.prepare: lambda _: 4,
    weight_gradients.fold: lambda _: 4,
    layer_norm.layer_norm_forward: lambda _: 4,
    layer_norm.layer_norm_backward: lambda _: 4,
}
# In 16 bits; what is not named is float32.
LOW = ('taps', 'normed', 'before', 'branch', 'other', 'low')
INTEGERS = (
    *('pixels', 'height', 'width', 'rows', 'columns', 'bands', 'channels'),
    *('depthwise_parts', 'expand_parts', 'project_parts'),
)


def _block(channels: int) -> int:
    return triton.next_power_of_2(channels)


def compiled(kernel, channels: int, pointer: str, target: GPUTarget) -> dict:
    wide = 'respond' in kernel.__name__
    values = dict(
        channels=channels,
        columns=4 * channels if wide else 128,
        block=_block(4 * channels) if wide else _block(channels),
        rows=max(4096 // _block(channels), 1),
        height=16,
        width=128,
        times=8,
        strip=16,
        **dict.fromkeys(('copies', 'both', 'with_grn', 'with_factor'), True),
        **dict.fromkeys(('with_norm', 'with_gamma', 'with_beta'), True),
    )
    if kernel is depthwise_norm.convolve_turned:
        values['block'] = 64
    constant = {p.name for p in kernel.params if p.is_constexpr}
    constants = {name: values[name] for name in kernel.arg_names if name in constant}
    signature = {}
    for name in kernel.arg_names:
        if name in constant:
            signature[name] = 'constexpr'
        elif name in INTEGERS:
            signature[name] = 'i32'
        elif name == 'eps':
            signature[name] = 'fp32'
        else:
            low = name.removeprefix('of_').startswith(LOW)
            signature[name] = f'*{pointer}' if low else '*fp32'
    aligned = {
        (place,): [['tt.divisibility', 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith('*')
    }
    source = ASTSource(kernel, signature, constants, aligned)
    done = triton.compile(source, target=target, options={'num_warps': KERNELS[kernel](channels)})
    return dict(shared=done.metadata.shared, **resources(done.asm['cubin']))


def resources(cubin: bytes) -> dict:
    """Registers of a thread, and bytes of its stack, where registers are spilled to."""
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, '--dump-resource-usage', file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        key: int(re.search(rf'{name}:(\d+)', told)[1])
        for key, name in (('registers', 'REG'), ('stack', 'STACK'))
    }


def main() -> None:
    out, *channels = sys.argv[1:]
    results = {
        f'sm_{arch} {kernel.__name__} {count} {pointer}': compiled(
            kernel, count, pointer, GPUTarget('cuda', arch, 32)
        )
        for arch, count, kernel, pointer in product(
            (80, 90), map(int, channels), KERNELS, ('bf16', 'fp16')
        )
    }
    Path(out).write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
