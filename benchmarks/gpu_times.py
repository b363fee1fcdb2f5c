"""Stages of gpu.py: times and memory next to the rivals', compiled or not, and a profile."""

from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from benchmarks import rivals
from benchmarks.case import Variant
from benchmarks.gpu_setup import DETECTOR, SEGMENTOR, Setup
from benchmarks.task import Task, backbone_config, prepare
from mmconvnext.analysis.benchmark.step import Step

# Version, training: in order of worth.
CASES = ((False, True), (True, True), (False, False), (True, False))
BACKBONE_RIVALS = ('timm', 'torchvision', 'transformers', 'mmpretrain')


def backbones(setup: Setup) -> None:
    """Time eager backbones in mixed precision; each rival tuned, and timm as shipped too."""
    _say_fastforks(setup)
    for use_grn, training in CASES:
        task = _backbone_task(setup, use_grn, training, 'bf16')
        setup.compare(_title(setup, use_grn), task, [*_ours(task), *_rivals(task)])
    task = _backbone_task(setup, False, False, 'bf16', batch=1)
    setup.compare(_title(setup, False), task, [*_ours(task), *_rivals(task, ('timm',))])
    size = (64, 96) if setup.tiny else (800, 1344)
    task = _backbone_task(setup, False, True, 'bf16', batch=2, size=size)
    setup.compare(_title(setup, False), task, [*_ours(task), *_rivals(task, ('timm',))])


def _say_fastforks(setup: Setup) -> None:
    # Inference of published weights alone, which it fetches itself: told, not measured.
    try:
        found = version('fastforks')
    except PackageNotFoundError:
        found = 'not installed'
    setup.findings.say('fastforks', version=found)


def _title(setup: Setup, use_grn: bool) -> str:
    return f'ConvNeXt-{"atto" if setup.tiny else "T"} {"V2" if use_grn else "V1"}'


def _backbone_task(
    setup: Setup,
    use_grn: bool,
    training: bool,
    amp: str | None,
    batch: int = 16,
    size: tuple[int, int] = (512, 512),
    tf32: bool = False,
) -> Task:
    config = backbone_config('atto' if setup.tiny else 'tiny', use_grn, drop_path_rate=0.1)
    if setup.tiny:
        batch, size = min(batch, 2), (min(size[0], 64), min(size[1], 96))
    return setup.task('backbone', config, size, batch, training, amp, tf32)


def _ours(task: Task) -> list[Variant]:
    return [
        Variant('ours', partial(prepare, task)),
        Variant('ours, fast=False', partial(prepare, task, fast=False)),
    ]


def _rivals(
    task: Task, names: Sequence[str] = BACKBONE_RIVALS, compiled: bool = False
) -> list[Variant]:
    """Return tuned variants, and some as shipped; all of both would take too long."""
    found, _ = rivals.variants(task, names, compiled)
    return [one for one in found if one.tuned or one.rival in ('timm', 'mmseg', 'mmdet')]


def _graph(task: Task) -> Variant:
    """Return our recorded variant; it keeps its memory, so that its peak is measured before."""
    return Variant('ours, CUDA graph', partial(prepare, task, options={'cuda_graph': True}))


def models(setup: Setup) -> None:
    """Time whole models in mixed precision, in training and prediction, next to mmseg and mmdet."""
    small, names = setup.tiny, {'segmentor': 'UperNet', 'detector': 'Mask R-CNN'}
    cases = [
        ('segmentor', SEGMENTOR, (64, 96) if small else (512, 512), 2 if small else 16),
        ('detector', DETECTOR, (128, 128) if small else (800, 1344), 2),
    ]
    for training in (True, False):
        for kind, config, size, batch in cases:
            task = setup.task(kind, config, size, batch, training, 'bf16')
            given = _rivals(task, ('mmseg',) if kind == 'segmentor' else ('mmdet',))
            setup.compare(names[kind], task, [*_ours(task), _graph(task), *given])


def compiled(setup: Setup) -> None:
    """Time training steps of the same backbones, compiled or recorded, and the compilation."""
    for use_grn in (False, True):
        task = _backbone_task(setup, use_grn, True, 'bf16')
        _compare_compiled(setup, task, use_grn, [])


def compiled_inference(setup: Setup) -> None:
    """Time compiled or recorded inference; here ours is compiled too."""
    for use_grn in (False, True):
        task = _backbone_task(setup, use_grn, False, 'bf16')
        whole = partial(prepare, task, compiled=True)
        ours = [Variant('ours, compiled', whole)]
        if setup.device != 'cpu':
            recorded = partial(whole, mode='reduce-overhead')
            ours.append(Variant('ours, compiled, CUDA graphs', recorded))
        _compare_compiled(setup, task, use_grn, ours)


def _compare_compiled(setup: Setup, task: Task, use_grn: bool, ours: list[Variant]) -> None:
    # A rival's blocks are one class: each drop rate makes torch compile it anew.
    torch._dynamo.config.recompile_limit = 64
    eager = [Variant('ours', partial(prepare, task)), _graph(task)]
    theirs = [one for one in _rivals(task, ('timm',), compiled=True) if one.tuned]
    setup.compare(f'{_title(setup, use_grn)}, compiled', task, [*eager, *ours, *theirs])
    torch.compiler.reset()


def blocks(setup: Setup) -> None:
    """Time training with separately compiled blocks, and the compilation."""
    for use_grn in (False, True):
        task = _backbone_task(setup, use_grn, True, 'bf16')
        compiled = partial(prepare, task, options={'compile_blocks': True})
        variants = [*_ours(task)[:1], Variant('ours, blocks compiled', compiled)]
        setup.compare(f'{_title(setup, use_grn)}, blocks', task, variants)
        torch.compiler.reset()


def triton(setup: Setup) -> None:
    """Time the same backbones without the Triton kernels."""
    for use_grn, training in CASES:
        task = _backbone_task(setup, use_grn, training, 'bf16')
        without = partial(prepare, task, options={'triton_kernels': False})
        variants = [*_ours(task)[:1], Variant('ours, no Triton kernels', without)]
        setup.compare(f'{_title(setup, use_grn)}, Triton', task, variants)


def precision(setup: Setup) -> None:
    """Time other precisions: fp16, and float32 with and without TF32."""
    for amp, tf32 in (('fp16', False), (None, True), (None, False)):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        for training in (True, False):
            task = _backbone_task(setup, False, training, amp, tf32=tf32)
            setup.compare(_title(setup, False), task, [*_ours(task), *_rivals(task, ('timm',))])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def micro(setup: Setup) -> None:
    """Time the operations that decide the form of the block."""
    cases = ((16, 96, 128), (16, 192, 64), (16, 384, 32), (16, 768, 16))
    for samples, channels, side in ((2, 40, 16),) if setup.tiny else cases:
        for dtype in (torch.bfloat16, torch.float16, torch.float32):
            shape = (samples, channels, side, side)
            with setup.case(f'depthwise {shape} {dtype}'):
                setup.time(f'depthwise 7×7 {shape} {dtype}', _depthwise(setup, shape, dtype))
    rows, channels = (64, 40) if setup.tiny else (16 * 128 * 128, 96)
    with setup.case('pointwise'):
        setup.time(f'{rows} × {channels} bf16', _pointwise(setup, rows, channels))


def _depthwise(setup: Setup, shape: tuple, dtype: torch.dtype) -> dict[str, Step]:
    x = torch.randn(shape, device=setup.device, dtype=dtype)
    weight = torch.randn(shape[1], 1, 7, 7, device=setup.device, dtype=dtype)

    def gradient(of: Tensor, mask: list[bool]) -> Step:
        geometry = ([1, 1], [3, 3], [1, 1], False, [0, 0], shape[1])
        backward = torch.ops.aten.convolution_backward
        return lambda _: backward(of, of, weight, None, *geometry, mask)

    steps = {}
    layouts = (torch.channels_last, torch.contiguous_format)
    for layout, name in zip(layouts, ('NHWC', 'NCHW')):
        of = x.contiguous(memory_format=layout)
        steps[f'{name} forward'] = partial(_conv, of, weight)
        steps[f'{name} gradient of the input'] = gradient(of, [True, False, False])
        steps[f'{name} gradient of the weight'] = gradient(of, [False, True, False])
    return steps


def _conv(x: Tensor, weight: Tensor, _: int) -> Tensor:
    return F.conv2d(x, weight, padding=3, groups=len(weight))


def _pointwise(setup: Setup, rows: int, channels: int) -> dict[str, Step]:
    make = partial(torch.randn, device=setup.device, dtype=torch.bfloat16)
    x, hidden, grad = make(rows, channels), make(rows, 4 * channels), make(rows, channels)
    weight, bias = make(4 * channels, channels), make(4 * channels)
    ones, zeros = torch.ones(channels, device=setup.device), torch.zeros(channels, device=x.device)
    steps: dict[str, Callable[[], Tensor]] = {
        'LayerNorm': lambda: torch.native_layer_norm(x, [channels], None, None, 1e-6)[0],
        'LayerNorm between float32 copies': lambda: F.layer_norm(
            x.float(), (channels,), ones, zeros
        ).to(x.dtype),
        'LayerNorm of 16-bit values with float32 weights': lambda: F.layer_norm(
            x, (channels,), ones, zeros
        ),
        'GELU': lambda: F.gelu(hidden),
        'linear': lambda: F.linear(x, weight, bias),
        'linear and GELU': lambda: F.gelu(F.linear(x, weight, bias)),
        'linear and GELU, tanh, in one': lambda: torch._addmm_activation(
            bias, x, weight.t(), use_gelu=True
        ),
        "weight's gradient": lambda: grad.t() @ hidden,
    }
    return {name: run for name, step in steps.items() if (run := _if_it_runs(setup, name, step))}


def _if_it_runs(setup: Setup, name: str, step: Callable[[], Tensor]) -> Step | None:
    try:
        step()
    except RuntimeError as error:
        setup.findings.say(f'{name}: does not run', why=str(error)[:200])
        return None
    return lambda _: step()


def profile(setup: Setup) -> None:
    """Report the fifteen slowest kernels of a training step."""
    jobs = [
        (_title(setup, use_grn), _backbone_task(setup, use_grn, True, 'bf16'), fast)
        for use_grn in (False, True)
        for fast in (True, False)
    ]
    size, batch = ((64, 96), 2) if setup.tiny else ((512, 512), 8)
    jobs.append(('UperNet', setup.task('segmentor', SEGMENTOR, size, batch, True, 'fp16'), True))
    for name, task, fast in jobs:
        with setup.case(name):
            title = f'{name}, {task.title}{"" if fast else ", fast=False"}'
            _profile(setup, title, prepare(task, fast=fast))


def _profile(setup: Setup, title: str, step: Step) -> None:
    for seed in range(2):
        step(seed)
    setup.synchronise()
    on_cuda = setup.device != 'cpu'
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profiler(activities=activities) as taken:
        step(2)
        setup.synchronise()
    key = 'self_device_time_total' if on_cuda else 'self_cpu_time_total'
    events = taken.key_averages()
    if on_cuda:  # an operator's entry has the time of its kernels, which have entries too
        events = [one for one in events if one.device_type == DeviceType.CUDA]
    events = sorted(events, key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events)
    dearest = [
        [event.key[:80], event.count, round(getattr(event, key) / 1e3, 3)] for event in events[:15]
    ]
    setup.findings.say(title, total_ms=round(total / 1e3, 3), dearest=dearest)
