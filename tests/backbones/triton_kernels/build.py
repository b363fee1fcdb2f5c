"""Compile the kernels and trace the operators for GPUs that are not there.

``python -m tests.backbones.triton_kernels.build OUT.json [CHANNELS …]``
"""

import json
import re
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import torch
import triton
from functorch.compile import make_boxed_func
from torch._dynamo.backends.common import aot_autograd
from torch._subclasses import FakeTensorMode
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmconvnext.backbones.triton_kernels import depthwise_norm, response
from mmconvnext.backbones.triton_kernels.tiles import CONFIGS, channel_block

KERNELS = (
    depthwise_norm.convolve_and_normalize,
    depthwise_norm.normalize_backward,
    depthwise_norm.convolve,
    depthwise_norm.correlate,
    response.sum_products,
    response.scale,
)
EXACT = ('rstd', 'partial', 'factor', 'b_factor')
INTEGERS = ('pixels', 'height', 'width', 'bands')


def compiled(tuned, channels: int, pointer: str, target: GPUTarget, config) -> dict:
    kernel = tuned.fn
    meets = 'normalize' in kernel.__name__  # channels do
    constants = {
        'channels': channels,
        'block': triton.next_power_of_2(channels) if meets else channel_block(channels),
        'band': 1024,
        'both': True,
        **config.kwargs,
    }
    constants = {name: constants[name] for name in kernel.arg_names if name in constants}
    kinds = dict.fromkeys(constants, 'constexpr') | dict.fromkeys(INTEGERS, 'i32')
    kinds |= {'eps': 'fp32'} | dict.fromkeys(EXACT, '*fp32')
    signature = {name: kinds.get(name, f'*{pointer}') for name in kernel.arg_names}
    aligned = {
        (place,): [['tt.divisibility', 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith('*')
    }
    source = ASTSource(kernel, signature, constants, aligned)
    done = triton.compile(source, target=target, options={'num_warps': config.num_warps})
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


def traced() -> dict:
    """Shapes and kernels of both operators under torch.compile, forward and backward."""
    target = GPUTarget('cuda', 90, 32)
    # The compiler asks for one to see which arguments a kernel writes to.
    triton.runtime.driver.set_active(SimpleNamespace(get_current_target=lambda: target))
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return make_boxed_func(graph)

    def both(x, weight, bias, gamma):
        normed, _ = depthwise_norm.depthwise_norm(x, weight, bias, 1e-6)
        return response.respond(normed, gamma, 1e-6)

    with FakeTensorMode():
        x = torch.randn(2, 5, 7, 40, dtype=torch.bfloat16, requires_grad=True)
        weights = [
            torch.randn(shape, requires_grad=True) for shape in ((40, 1, 7, 7), (40,), (40,))
        ]
        found = {}
        for name, run in (
            ('eager', both),
            ('compiled', torch.compile(both, backend=aot_autograd(fw_compiler=keep))),
        ):
            out = run(x, *weights)
            grads = torch.autograd.grad(out.sum(), (x, *weights))
            found[name] = [[list(t.shape), str(t.dtype)] for t in (out, *grads)]
    found['kernels'] = [
        sum('triton_kernel_wrapper' in str(node.target) for node in graph.graph.nodes)
        for graph in graphs
    ]
    return found


def main() -> None:
    out, *channels = sys.argv[1:]
    results = {'traced': traced()}
    pointers = ('bf16', 'fp16', 'fp32')
    for arch, count, kernel, pointer in product((80, 90), map(int, channels), KERNELS, pointers):
        results[f'sm_{arch} {kernel.fn.__name__} {count} {pointer}'] = [
            compiled(kernel, count, pointer, GPUTarget('cuda', arch, 32), config)
            for config in CONFIGS
        ]
    Path(out).write_text(json.dumps(results, indent=1))


if __name__ == '__main__':
    main()
