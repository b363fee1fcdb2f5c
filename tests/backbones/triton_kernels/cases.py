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
LOW = {'bfloat16': torch.bfloat16, 'float16': torch.float16}
SIZES = ((9, 11), (16, 13))
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


def block(
    size: tuple[int, int],
    channels: int,
    dtype: torch.dtype,
    use_grn: bool = False,
    gamma: bool = False,
    folded: bool = False,
    residual: torch.dtype = torch.float32,
) -> dict:
    """Distances from float64's of the lean block with the kernels (first) and without."""
    from tests.backbones.fused_block.test_fused_block import a_block

    torch.manual_seed(5)
    module = a_block(channels, grn=use_grn, gamma=gamma)
    if folded:
        module.fold()
    x, grad = torch.randn(2, 2, channels, *size).to(residual)
    factor = torch.tensor([0.0, 1.25]).view(2, 1, 1, 1)
    module.dwconv.bias.requires_grad_(False)
    found = []
    for kernels, given in ((True, dtype), (False, dtype), (False, torch.float64)):
        module = module.to(torch.float64 if given == torch.float64 else torch.float32)
        module.zero_grad()
        inputs = x.double() if given == torch.float64 else x
        settings = LeanSettings(EPS, EPS, factor.to(inputs.dtype), kernels)

        def run(x: Tensor, settings: LeanSettings = settings) -> Tensor:
            return lean_block(x, module._weights(), settings)  # noqa: B023 (run at once)

        with torch.autocast('cpu', given, enabled=given in LOW.values()):
            result = outputs(run, [inputs], grad)
            with torch.no_grad():
                assert torch.equal(run(inputs), result[0])
        assert module.dwconv.bias.grad is None
        learned = [p.grad.clone() for p in module.parameters() if p.requires_grad]
        found.append(result + learned)
        if size == (1, 1):  # then all weights but the middle ones meet zeros alone
            assert module.dwconv.weight.grad.flatten(1).ne(0).sum(1).max() == 1
    with_kernels, without, exact = found
    return dict(
        ours=distances(with_kernels, exact),
        plain=distances(without, exact),
        dtypes=[str(r.dtype) for r in with_kernels] == [str(r.dtype) for r in without],
    )


def silent_channel(dtype: torch.dtype) -> dict:
    """A channel whose GELU is 0 all over has a norm without a direction."""
    from tests.backbones.fused_block.test_fused_block import a_block

    module = a_block(8, grn=True, gamma=False)
    module.pwconv1.weight.data[3], module.pwconv1.bias.data[3] = 0, 0
    settings = LeanSettings(EPS, EPS, None, True)
    with torch.autocast('cpu', dtype):
        found = outputs(
            lambda x: lean_block(x, module._weights(), settings),
            [torch.randn(1, 8, 3, 2)],
            torch.ones(1, 8, 3, 2),
        )
    found += [p.grad for p in module.parameters()]
    return dict(finite=0.0 if all(y.isfinite().all() for y in found) else 1.0)


def _doubled(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [t.double() for t in tensors]


def outside(shape: tuple[int, ...], dtype: torch.dtype) -> dict:
    """LayerNorm with its affine part, of values far from 0."""
    from mmconvnext.backbones.triton_kernels.layer_norm import layer_norm

    torch.manual_seed(0)
    x, grad = torch.randn(2, *shape).add_(3).to(dtype)
    weights = list(torch.randn(2, shape[-1]))
    found = outputs(lambda *given: layer_norm(*given, EPS), [x, *weights], grad)
    exact = outputs(
        lambda x, *affine: F.layer_norm(x, shape[-1:], *affine, eps=EPS),
        _doubled([x, *weights]),
        grad,
    )
    return dict(zip(('out', 'x', 'weight', 'bias'), distances(found, exact)))


def without_kernels(change: Callable[[torch.nn.Module], None], channels: int = 8) -> dict:
    """The option is on, but the block is none for the kernels."""
    from tests.backbones.fused_block.test_fused_block import a_block

    module = a_block(channels).to(torch.bfloat16)
    with torch.no_grad():
        change(module)
        x = torch.randn(1, channels, 3, 2, dtype=torch.bfloat16)
        on, off = (
            lean_block(x, module._weights(), LeanSettings(EPS, EPS, None, kernels))
            for kernels in (True, False)
        )
    return dict(out=0.0 if torch.equal(on, off) else 1.0)


def small_kernel(module: torch.nn.Module) -> None:
    module.dwconv.weight.data = module.dwconv.weight.data[..., :5, :5].contiguous()


def narrow(module: torch.nn.Module) -> None:
    module.pwconv1.weight.data = module.pwconv1.weight.data[:24].clone()
    module.pwconv1.bias.data = module.pwconv1.bias.data[:24].clone()
    module.pwconv2.weight.data = module.pwconv2.weight.data[:, :24].clone()


def transposed(module: torch.nn.Module) -> None:
    module.pwconv1.weight.data = module.pwconv1.weight.data.t().contiguous().t()


def frozen(dtype: torch.dtype) -> dict:
    """Without gradients of weights, and in another autocast, the input's gradient is the same."""
    from tests.backbones.fused_block.test_fused_block import a_block

    module = a_block(8, grn=True, gamma=False)
    x, grad = torch.randn(2, 1, 8, 3, 2)
    found = []
    for learns in (True, False):
        module.requires_grad_(learns)
        given = x.clone().requires_grad_()
        with torch.autocast('cpu', dtype):
            out = lean_block(given, module._weights(), LeanSettings(EPS, EPS, None, True))
        with torch.autocast('cpu', torch.bfloat16 if dtype == torch.float16 else torch.float16):
            out.backward(grad)
        found.append(given.grad)
    return dict(x=0.0 if torch.equal(*found) else 1.0)


def backbone() -> dict:
    """With recomputation and stochastic depth; the lean form runs on a CPU for once."""
    block_module.form_for = lambda *_: 'lean'
    arch = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
    x = torch.randn(2, 3, 32, 64)
    found = []
    for kernels in (True, False):
        torch.manual_seed(2)
        options = dict(use_grn=True, drop_path_rate=0.3, with_cp=True, triton_kernels=kernels)
        model = ConvNeXt(arch, **options)
        model.init_weights()
        torch.manual_seed(3)
        with torch.autocast('cpu', torch.float16):
            outs = model.train()(x)
        sum(out.float().square().mean() for out in outs).backward()
        found.append([o.detach() for o in outs] + [p.grad.clone() for p in model.parameters()])
    # Some gradients are nothing but rounding: of a bias before a norm over one pixel.
    worst = max(
        (ours.float() - plain.float()).norm().item() / (plain.float().norm().item() + 1e-1)
        for ours, plain in zip(*found)
    )
    return dict(worst=worst)


def _cases() -> dict[str, Callable[[], dict]]:
    cases = {}
    for name, dtype in LOW.items():
        v1, v2 = dict(gamma=True), dict(use_grn=True)
        cases |= {
            f'block 1x1 40 {name}': partial(block, (1, 1), 40, dtype, **v1),
            f'block 5x7 40 {name} V1': partial(block, (5, 7), 40, dtype, **v1),
            f'block 5x7 40 {name} V2': partial(block, (5, 7), 40, dtype, **v2),
            # More pixels than a program takes, and a width of more than one strip.
            f'block 17x16 8 {name} V1': partial(block, (17, 16), 8, dtype, **v1),
            f'block 17x16 8 {name} V2': partial(block, (17, 16), 8, dtype, **v2),
            f'block 4x5 96 {name} low': partial(block, (4, 5), 96, dtype, residual=dtype, **v2),
            f'block 7x5 24 {name} folded': partial(
                block, (7, 5), 24, dtype, folded=True, residual=dtype, **v1
            ),
            f'silent {name}': partial(silent_channel, dtype),
            f'frozen {name}': partial(frozen, dtype),
            f'outside 5x7 40 {name}': partial(outside, (2, 5, 7, 40), dtype),
        }
    cases['outside float32'] = partial(outside, (300, 24), torch.float32)
    cases['fallback 4160'] = partial(without_kernels, lambda _: None, 4160)
    for change in (small_kernel, narrow, transposed):
        cases[f'fallback {change.__name__}'] = partial(without_kernels, change)
    cases['backbone'] = backbone
    return cases


def _long_cases() -> dict[str, Callable[[], dict]]:
    cases = {}
    for name, dtype in LOW.items():
        for height, width in SIZES:
            label = f'{height}x{width} 40 {name}'
            cases[f'block {label}'] = partial(block, (height, width), 40, dtype, gamma=True)
        for channels in CHANNELS:
            label = f'3x2 {channels} {name}'
            cases[f'outside {label}'] = partial(outside, (3, 2, channels), dtype)
            cases[f'block {label}'] = partial(block, (3, 2), channels, dtype, use_grn=True)
    return cases


CASES = _cases()
LONG_CASES = _long_cases()
