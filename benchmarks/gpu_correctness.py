"""Stages of gpu.py: every path against float64, training by the tools, and where the host waits."""

import json
import os
import statistics
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import benchmark as tool
import rivals
import torch
from gpu_setup import DETECTOR, SEGMENTOR, Setup
from torch import Tensor, nn

from mmconvnext.analysis.benchmark import LOSS_SCALE, Step
from mmconvnext.ops import nms, roi_align

PRECISIONS = {
    'float32': (None, False, 1e-4),
    'TF32': (None, True, 5e-3),
    'bf16': (torch.bfloat16, False, 2e-2),
    'fp16': (torch.float16, False, 5e-3),
}


def correct(setup: Setup) -> None:
    """Outputs and gradients of every path, as far from float64 as the plain path's may be."""
    _backbones(setup)
    _segmentors(setup)
    _detectors(setup)
    _operators(setup)
    if setup.device != 'cpu':
        with setup.findings.case('training step as a CUDA graph'):
            _captured(setup)


def _backbones(setup: Setup) -> None:
    forms = {'lean': {}, 'with_cp': {'with_cp': True}, 'compiled': {'compile_blocks': True}}
    sizes = ((2, 65, 97),) if setup.tiny else ((3, 129, 161), (16, 224, 224))
    for use_grn in (False, True):
        for size in sizes:
            x = torch.randn(size[0], 3, *size[1:]).to(setup.device)
            build = partial(setup.backbone, 'atto', use_grn, drop_path_rate=0.3)
            truth = _results(setup, build(fast=False).double(), x.double(), None)
            for precision in PRECISIONS:
                dtype, bound = _switched(precision)
                plain = _results(setup, build(fast=False), x, dtype)
                for form, options in forms.items():
                    # Compiling takes seconds for each dtype and size: of one.
                    if form == 'compiled' and (precision != 'bf16' or size != sizes[0]):
                        continue
                    for layout in (torch.contiguous_format, torch.channels_last):
                        version = 'V2' if use_grn else 'V1'
                        name = f'backbone {version} {form} {precision} {size} {layout}'
                        if setup.findings.late():
                            setup.findings.say('left out, no time')
                            return
                        with setup.findings.case(name):
                            inputs = x.contiguous(memory_format=layout)
                            found = _results(setup, build(**options), inputs, dtype)
                            _judge(setup, name, found, truth, plain, bound)
    _switched('float32')


def _switched(precision: str) -> tuple[torch.dtype | None, float]:
    """Its dtype under autocast and its bound, with TF32 on or off as it wants."""
    dtype, tf32, bound = PRECISIONS[precision]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return dtype, bound


def _results(
    setup: Setup, model: nn.Module, x: Tensor, dtype: torch.dtype | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Maps in training, and the gradients of all parameters, each of its parameter's kind."""
    model.train()
    torch.manual_seed(3)  # the same samples are dropped
    with setup.autocast(dtype):
        maps = list(model(x))
    generator = torch.Generator().manual_seed(4)
    weights = [torch.randn(y.shape, generator=generator).to(y.device, y.dtype) for y in maps]
    torch.autograd.backward(maps, weights)
    for name, parameter in model.named_parameters():
        kind = parameter.grad.dtype, parameter.grad.device, _strides(parameter.grad)
        wanted = parameter.dtype, parameter.device, _strides(parameter)
        if kind != wanted:
            raise ValueError(f'gradient of {name}: expected {wanted}, got {kind}')
    return [y.detach() for y in maps], [parameter.grad for parameter in model.parameters()]


def _strides(x: Tensor) -> list[int]:
    return [stride for stride, length in zip(x.stride(), x.shape) if length > 1]


def _judge(setup: Setup, name: str, found, truth, plain, bound: float) -> None:
    """Right if no further from the truth than the bound, or than twice what the plain path is."""
    ours, theirs = (max(map(_distance, one, truth)) for one in (found, plain))
    ok = ours <= max(bound, 2 * theirs)
    setup.findings.say(name, ok=ok, ours=float(f'{ours:.1e}'), plain=float(f'{theirs:.1e}'))


def _distance(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Of two lists as one vector each, relative; nan stays so."""
    a, b = (torch.cat([x.double().flatten() for x in xs]) for xs in (found, truth))
    return ((a - b).norm() / b.norm()).item()


def _segmentors(setup: Setup) -> None:
    """Loss, gradients and labels of UperNet, whole and in windows; small, for float64's sake."""
    small = setup._replace(tiny=True)
    task = small.task('segmentor', SEGMENTOR, (64, 72), 2, True, None)
    steps = {fast: _without_dropout(tool.prepare(task, fast=fast)) for fast in (True, False)}
    truth = _of_step(_in_float64(_without_dropout(tool.prepare(task, fast=False))), None)
    for precision in PRECISIONS:
        dtype, bound = _switched(precision)
        name = f'UperNet loss and gradients {precision}'
        with setup.findings.case(name):
            found, plain = (_of_step(steps[fast], dtype) for fast in (True, False))
            _judge(setup, name, found, truth, plain, 5 * bound)
    _switched('float32')
    slide = dict(mode='slide', crop_size=(64, 64), stride=(43, 43))
    for mode in (dict(mode='whole'), slide):
        name = f'UperNet labels, {mode["mode"]}'
        with setup.findings.case(name):
            given = task._replace(training=False, config=task.config | dict(test_cfg=mode))
            fast, slow = (tool.prepare(given, fast=one)(0) for one in (True, False))
            differ = max((fast[key] != slow[key]).float().mean().item() for key in slow)
            setup.findings.say(name, ok=differ < 2e-2, differ=differ)


def _without_dropout(step: Step) -> Step:
    for module in step.model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return step


def _in_float64(step: Step) -> Step:
    """The step with its model and its images (its forward is a partial) in float64."""
    model = step.model.double()
    _, x, samples = step.forward.args
    step.forward = partial(step.forward.func, model, x.double(), samples)
    return step


def _of_step(step: Step, dtype: torch.dtype | None) -> tuple[list[Tensor], list[Tensor]]:
    step.amp, step.weights = dtype, []
    results = step(5)
    scale = LOSS_SCALE if dtype == torch.float16 else 1.0
    gradients = [value / scale for name, value in results.items() if name.startswith('gradient')]
    return [results['loss']], gradients


def _detectors(setup: Setup) -> None:
    """A detector's loss in each precision near that of the plain path, and its prediction runs."""
    small = setup._replace(tiny=True)
    for precision in PRECISIONS:
        dtype, _ = _switched(precision)
        amp = next((name for name, one in tool.DTYPES.items() if one == dtype), None)
        for training in (True, False):
            task = small.task(
                'detector', DETECTOR, (128, 160), 2, training, amp, precision == 'TF32'
            )
            name = f'detector {task.title}'
            with setup.findings.case(name):
                fast, slow = (tool.prepare(task, fast=one)(0) for one in (True, False))
                pairs = [([fast[key]], [slow[key]]) for key in fast]
                differ = max(_distance(*pair) for pair in pairs)
                setup.findings.say(name, ok=differ < 5e-2, differ=differ)
    _switched('float32')


def _operators(setup: Setup) -> None:
    """What mmcv's names run on the device, against the PyTorch forms in float64 on a CPU."""
    torch.manual_seed(0)
    corners = torch.rand(40, 2) * 150
    boxes = torch.cat([corners, corners + 5 + torch.rand(40, 2) * 60], 1)
    rois = torch.cat([torch.randint(0, 2, (40, 1)), boxes], 1)
    features, scores = torch.randn(2, 32, 50, 60), torch.rand(40)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            name = f'RoIAlign {dtype} {layout}'
            with setup.findings.case(name):
                x = features.to(dtype=dtype, memory_format=layout)
                _check_roi_align(setup, name, x, rois.to(dtype))
        with setup.findings.case(f'nms {dtype}'):
            _check_nms(setup, boxes.to(dtype), scores.to(dtype))


def _check_roi_align(setup: Setup, name: str, features: Tensor, rois: Tensor) -> None:
    from mmcv.ops import roi_align as of_mmcv

    x = features.to(setup.device, copy=True).requires_grad_()
    found = of_mmcv(x, rois.to(setup.device), 7, 0.25, 0, 'avg', True)
    found.float().sum().backward()
    exact, grads = torch.zeros(len(rois), 32, 7, 7).double(), torch.ones(len(rois), 32, 7, 7)
    of_features, nothing = torch.zeros_like(features.double().contiguous()), torch.empty(0)
    options = dict(aligned_height=7, aligned_width=7, spatial_scale=0.25, sampling_ratio=0)
    options |= dict(pool_mode=1, aligned=True)
    given = features.double().contiguous(), rois.double()
    with torch.no_grad():
        roi_align.roi_align_forward(*given, exact, nothing, nothing, **options)
        roi_align.roi_align_backward(
            grads.double(), rois.double(), nothing, nothing, of_features, **options
        )
    forward = _distance([found.cpu()], [exact])
    backward = _distance([x.grad.cpu()], [of_features])
    ok = forward < 2e-2 and backward < 2e-2
    setup.findings.say(name, ok=ok, forward=forward, backward=backward)


def _check_nms(setup: Setup, boxes: Tensor, scores: Tensor) -> None:
    from mmcv.ops import nms as of_mmcv
    from mmcv.ops import soft_nms

    _, kept = of_mmcv(boxes.to(setup.device), scores.to(setup.device), 0.5)
    wanted = nms.nms(boxes.float(), scores.float(), iou_threshold=0.5, offset=0)
    same = sorted(kept.tolist()) == sorted(wanted.tolist())
    setup.findings.say(f'nms {boxes.dtype}', ok=same, kept=len(kept), wanted=len(wanted))
    found, _ = soft_nms(boxes.to(setup.device), scores.to(setup.device), 0.5)
    there = bool(found.isfinite().all()) and len(found) > 0
    setup.findings.say(f'soft-NMS {boxes.dtype}', ok=there, kept=len(found))


def _captured(setup: Setup) -> None:
    """A training step with stochastic depth, recorded once and replayed."""
    model = setup.backbone('atto', True, drop_path_rate=0.3).train()
    x = torch.randn(4, 3, 64, 64, device=setup.device)

    def step() -> Tensor:
        with torch.autocast(setup.device, torch.bfloat16, cache_enabled=False):
            loss = sum(y.float().square().mean() for y in model(x))
        loss.backward()
        return loss

    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    model.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = step()
    losses = []
    for _ in range(4):
        graph.replay()
        losses.append(loss.item())
    ok = all(value == value for value in losses) and len(set(losses)) > 1
    setup.findings.say('training step as a CUDA graph', ok=ok, losses=losses)


def waits(setup: Setup) -> None:
    """How often the host waits for the device in a step, and where; mmseg and mmdet as well."""
    small = setup.tiny
    cases = (
        ('segmentor', SEGMENTOR, (64, 96) if small else (512, 512), 'mmseg'),
        ('detector', DETECTOR, (128, 128) if small else (800, 1344), 'mmdet'),
    )
    for kind, config, size, rival in cases:
        for training in (True, False):
            task = setup.task(kind, config, size, 2, training, 'fp16')
            builds = {'ours': None}
            found, _ = rivals.candidates(kind, (rival,))
            builds |= {one.name: one.build for one in found[:1]}
            for name, build in builds.items():
                title = f'{kind} {task.title}, {name}'
                with setup.findings.case(title):
                    _count_waits(setup, title, tool.prepare(task, build))


def _count_waits(setup: Setup, title: str, step: Step) -> None:
    step(0)
    if setup.device == 'cpu':
        setup.findings.say(title, waits='only counted on a GPU')
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('warn')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        step(1)
    torch.cuda.set_sync_debug_mode('default')
    places = Counter(
        f'{Path(one.filename).name}:{one.lineno}'
        for one in caught
        if 'synchroniz' in str(one.message)
    )
    setup.findings.say(title, waits=places.total(), places=dict(places.most_common(12)))


# Iterations and epochs of the first run and of the resumed one, full and small.
RUNS = {
    'segmentation': ('upernet_convnext_atto_samples.py', 'max_iters', (60, 90), (6, 10)),
    'detection': ('mask_rcnn_convnext_atto_samples.py', 'max_epochs', (1, 2), (1, 2)),
}


def train(setup: Setup) -> None:
    """The tools themselves with mixed precision: the loss falls, and a resumed run goes on."""
    for kind, (config, length, full, small) in RUNS.items():
        folder = setup.out.resolve() / 'training' / kind
        made = ('--training', '8' if setup.tiny else '32', '--validation', '4')
        with setup.findings.case(f'training, {kind}'):
            _run(
                setup, f'samples, {kind}', 'make_samples.py', folder / 'data', '--kind', kind, *made
            )
            for turn, end in enumerate(small if setup.tiny else full):
                options = [f'train_cfg.{length}={end}', f'train_cfg.val_interval={end}']
                every = 1 if kind == 'detection' else end
                options += [f'default_hooks.checkpoint.interval={every}']
                options += ['default_hooks.logger.interval=2', f'data_root={folder / "data"}']
                precision = [] if setup.device == 'cpu' else ['--amp', 'fp16']
                name = f'training, {kind}, {"resumed" if turn else "first run"}'
                where = ['--work-dir', folder / 'run', *(['--resume'] if turn else [])]
                where += ['--cfg-options', *options]
                path = tool.ROOT / 'configs' / config
                if not _run(setup, name, 'train.py', path, *precision, *where):
                    break
            _say_losses(setup, kind, folder / 'run')


def _run(setup: Setup, name: str, script: str, *arguments: object) -> bool:
    """Run a tool; whether it ended well, as a finding."""
    if setup.findings.late():
        setup.findings.say(f'{name}: left out, no time')
        return False
    command = [sys.executable, tool.ROOT / 'tools' / script, *arguments]
    path = os.pathsep.join([str(tool.ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        cwd=tool.ROOT,
        timeout=600 if setup.tiny else 60,
        env=os.environ | {'PYTHONPATH': path},
    )
    ok = done.returncode == 0
    end = {} if ok else {'end': (done.stdout + done.stderr)[-1500:]}
    setup.findings.say(name, ok=ok, **end)
    return ok


def _say_losses(setup: Setup, kind: str, folder: Path) -> None:
    losses = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        lines = map(json.loads, file.read_text().splitlines())
        losses |= {line['step']: line['loss'] for line in lines if 'loss' in line}
    values = [losses[step] for step in sorted(losses)]
    third = max(1, min(3, len(values) // 3))
    first, last = (statistics.mean(part) for part in (values[:third], values[-third:]))
    # A few steps of a small model may not show it.
    ok = last < first or setup.tiny
    setup.findings.say(f'training, {kind}, loss', ok=ok, first=first, last=last, steps=len(values))
