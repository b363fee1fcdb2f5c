"""What is computed in Triton's interpreter: names of cases and how they run.

A result maps the name of each output to its distance from float64's, relative to the largest value.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from mmconvnext.backbones import block as block_module
from mmconvnext.backbones.convnext import ARCHITECTURES, ConvNeXt
from mmconvnext.backbones.lean_block import LeanSettings, lean_block

EPS = 1e-6
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}
SIZES = ((1, 1), (5, 7), (9, 11), (16, 13))
CHANNELS = sorted({count for arch in ARCHITECTURES.values() for count in arch.channels})


def distances(ours: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [
        ((a.double() - b).abs().max() / b.abs().max().clamp(min=1e-30)).item()
        for a, b in zip(ours, exact, strict=True)
    ]


def outputs(function: Callable, inputs: list[Tensor], grad: Tensor) -> list[Tensor]:
    """The result and the inputs' gradients."""
    inputs = [i.clone().requires_grad_() for i in inputs]
    out = function(*inputs)
    out.backward(grad.to(out.dtype))
    return [out.detach(), *(i.grad for i in inputs)]


def norm_in_torch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    x = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=3, groups=len(weight))
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], eps=EPS)


def respond_in_torch(x: Tensor, gamma: Tensor) -> Tensor:
    norms = x.norm(dim=(1, 2), keepdim=True)
    return x * (1 + gamma * (norms / (norms.mean(-1, keepdim=True) + EPS)))


def norm(size: tuple[int, int], channels: int, dtype: torch.dtype, low_weights: bool) -> dict:
    from mmconvnext.backbones.triton_kernels.depthwise_norm import depthwise_norm

    torch.manual_seed(channels)
    x, grad = torch.randn(2, 2, *size, channels).to(dtype)
    weight, bias = torch.randn(channels, 1, 7, 7) / 7, torch.randn(channels)
    inputs = [x, *((weight.to(dtype), bias.to(dtype)) if low_weights else (weight, bias))]
    exact_inputs = [i.double() for i in inputs]
    ours = outputs(lambda *given: depthwise_norm(*given, EPS)[0], inputs, grad)
    exact = outputs(norm_in_torch, exact_inputs, grad)
    if size == (1, 1):  # then all weights but the middle ones meet zeros alone
        assert ours[2].flatten(1).ne(0).sum(1).max() == 1
    return dict(zip(('out', 'x', 'weight', 'bias'), distances(ours, exact)))


def respond(size: tuple[int, int], channels: int, dtype: torch.dtype) -> dict:
    from mmconvnext.backbones.triton_kernels import response

    torch.manual_seed(channels)
    x, grad = torch.randn(2, 2, *size, channels).to(dtype)
    x[0, ..., 1] = 0  # a channel without a norm has no direction
    gamma = torch.randn(channels)
    ours = outputs(lambda *given: response.respond(*given, EPS), [x, gamma], grad)
    x = x.double()
    x[0, ..., 1] = 1e-30
    exact = outputs(respond_in_torch, [x, gamma.double()], grad)
    exact[1][0, ..., 1] = ours[1][0, ..., 1]
    assert torch.isfinite(ours[1]).all()
    return dict(zip(('out', 'x', 'gamma'), distances(ours, exact)))


def block(dtype: torch.dtype, use_grn: bool, gamma: bool, folded: bool = False) -> dict:
    """Distances of the lean block with the kernels (first) and without."""
    from tests.backbones.fused_block.test_fused_block import a_block

    torch.manual_seed(5)
    module = a_block(24, grn=use_grn, gamma=gamma)
    if folded:
        module.fold()
    x, grad = torch.randn(2, 2, 24, 7, 5)
    factor = torch.tensor([0.0, 1.25]).view(2, 1, 1, 1)
    module.dwconv.bias.requires_grad_(False)
    found = []
    for kernels, given in ((True, dtype), (False, dtype), (False, torch.float64)):
        module = module.to(torch.float64 if given == torch.float64 else torch.float32)
        module.zero_grad()
        settings = LeanSettings(EPS, EPS, factor.to(module.dwconv.weight.dtype), kernels)

        def run(x: Tensor, settings: LeanSettings = settings) -> Tensor:
            return lean_block(x, module._weights(), settings)  # noqa: B023 (run at once)

        with torch.autocast('cpu', given, enabled=given in (torch.bfloat16, torch.float16)):
            result = outputs(run, [x.to(module.dwconv.weight.dtype)], grad)
        assert module.dwconv.bias.grad is None
        learned = [p.grad.clone() for p in module.parameters() if p.requires_grad]
        found.append(result + learned)
    with_kernels, without, exact = found
    return dict(
        ours=distances(with_kernels, exact),
        plain=distances(without, exact),
        dtypes=[str(r.dtype) for r in with_kernels] == [str(r.dtype) for r in without],
    )


def without_kernels(channels: int, size: int, dtype: torch.dtype) -> dict:
    """The option is on, but the block is none for the kernels."""
    from tests.backbones.fused_block.test_fused_block import a_block

    module = a_block(channels).to(dtype)
    module.dwconv.weight.data = module.dwconv.weight.data[..., :size, :size]
    x = torch.randn(1, channels, 3, 2, dtype=dtype)
    with torch.no_grad():
        on, off = (
            lean_block(x, module._weights(), LeanSettings(EPS, EPS, None, kernels))
            for kernels in (True, False)
        )
    return dict(out=0.0 if torch.equal(on, off) else 1.0)


def backbone() -> dict:
    """With recomputation and stochastic depth; the lean form runs on a CPU for once."""
    block_module.form_for = lambda *_: 'lean'
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
    model = ConvNeXt(arch, use_grn=True, drop_path_rate=0.3, with_cp=True, triton_kernels=True)
    x = torch.randn(2, 3, 32, 64)
    found = []
    for kernels in (True, False):
        block_module.lean_block = lambda x, weights, settings, kernels=kernels: lean_block(
            x, weights, settings._replace(triton_kernels=kernels)
        )
        model.zero_grad()
        torch.manual_seed(3)
        outs = model.train()(x)
        sum(out.square().mean() for out in outs).backward()
        found.append([o.detach() for o in outs] + [p.grad.clone() for p in model.parameters()])
    # Some gradients are nothing but rounding: of a bias before a norm over one pixel.
    worst = max(
        (ours - plain).abs().max().item() / (plain.abs().max().item() + 1e-3)
        for ours, plain in zip(*found)
    )
    return dict(worst=worst)


def _sized(sizes: Sequence[tuple[int, int]], name: str) -> dict[str, Callable[[], dict]]:
    cases, dtype = {}, DTYPES[name]
    for size in sizes:
        label = f'{size[0]}x{size[1]} 40 {name}'
        cases[f'norm {label}'] = partial(norm, size, 40, dtype, True)
        cases[f'respond {label}'] = partial(respond, size, 40, dtype)
    return cases


def _cases() -> dict[str, Callable[[], dict]]:
    cases = {}
    for name, dtype in DTYPES.items():
        cases |= _sized(SIZES[:2], name)
        cases[f'norm 4x3 96 {name} exact weights'] = partial(norm, (4, 3), 96, dtype, False)
        cases[f'respond 33x17 24 {name}'] = partial(respond, (33, 17), 24, dtype)
        for grn, gamma in ((False, True), (True, False)):
            label = f'block {name} {"V2" if grn else "V1"}'
            cases[label] = partial(block, dtype, grn, gamma)
        cases[f'block {name} folded'] = partial(block, dtype, False, True, folded=True)
    cases['fallback 4160'] = partial(without_kernels, 4160, 7, torch.bfloat16)
    cases['fallback 5x5'] = partial(without_kernels, 8, 5, torch.float32)
    cases['fallback float64'] = partial(without_kernels, 8, 7, torch.float64)
    cases['backbone'] = backbone
    return cases


def _long_cases() -> dict[str, Callable[[], dict]]:
    cases = {}
    for name, dtype in DTYPES.items():
        cases |= _sized(SIZES[2:], name)
        for channels in CHANNELS:
            label = f'3x2 {channels} {name}'
            cases[f'norm {label}'] = partial(norm, (3, 2), channels, dtype, True)
            cases[f'respond {label}'] = partial(respond, (3, 2), 4 * channels, dtype)
        # More pixels than a band.
        cases[f'norm 33x17 48 {name}'] = partial(norm, (33, 17), 48, dtype, True)
    return cases


CASES = _cases()
LONG_CASES = _long_cases()
