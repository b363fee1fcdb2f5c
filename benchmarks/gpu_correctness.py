"""A stage of gpu.py: compare every path with float64."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import cycle

import torch
from torch import Tensor, nn

from benchmarks.gpu_setup import DETECTOR, SEGMENTOR, Setup
from benchmarks.task import DTYPES, prepare
from mmconvnext.analysis.benchmark.step import LOSS_SCALE, Step
from mmconvnext.ops import nms, roi_align

PRECISIONS = {
    'float32': (None, False, 1e-4),
    'TF32': (None, True, 5e-3),
    'bf16': (torch.bfloat16, False, 2e-2),
    'fp16': (torch.float16, False, 5e-3),
}


def correct(setup: Setup) -> None:
    """Check that every path's results are as close to float64 as the plain path's."""
    for use_grn in (False, True):
        with setup.case('training steps as CUDA graphs'):
            _recorded(setup, use_grn)
    _backbones(setup)
    _operators(setup)
    _segmentors(setup)
    _detectors(setup)
    _compiled_blocks(setup)


def _backbones(setup: Setup) -> None:
    small, large = ((2, 65, 97),) * 2 if setup.tiny else ((3, 129, 161), (16, 224, 224))
    lean, triton = {'lean': {'triton_kernels': False}}, {'Triton': {}}
    for use_grn in (False, True):
        _check_forms(setup, use_grn, small, lean, ['float32', 'TF32'])
        _check_forms(setup, use_grn, small, triton | lean, ['bf16', 'fp16'])
        _check_forms(setup, use_grn, large, triton | {'with_cp': {'with_cp': True}}, ['bf16'])


def _compiled_blocks(setup: Setup) -> None:
    # Compiling takes seconds for each dtype and size: of one.
    for use_grn in (False, True):
        _check_forms(setup, use_grn, (2, 65, 97), {'compiled': {'compile_blocks': True}}, ['bf16'])


def _check_forms(
    setup: Setup,
    use_grn: bool,
    size: tuple[int, int, int],
    forms: Mapping[str, dict],
    precisions: Collection[str],
) -> None:
    """Check forms of the backbone in some precisions, with alternating input layouts."""
    x = torch.randn(size[0], 3, *size[1:]).to(setup.device)
    build = partial(setup.backbone, 'atto', use_grn, drop_path_rate=0.3)
    truth = _results(setup, build(fast=False).double(), x.double(), None)
    for precision in precisions:
        dtype, bound = _switched(precision)
        plain = _results(setup, build(fast=False), x, dtype)
        layouts = cycle((torch.contiguous_format, torch.channels_last))
        for form, layout in zip(forms, layouts):
            version = 'V2' if use_grn else 'V1'
            name = f'backbone {version} {form} {precision} {size} {layout}'
            with setup.case(name):
                inputs = x.contiguous(memory_format=layout)
                found = _results(setup, build(**forms[form]), inputs, dtype)
                _judge(setup, name, found, truth, plain, bound)
    _switched('float32')


def _switched(precision: str) -> tuple[torch.dtype | None, float]:
    """Return a precision's autocast dtype and bound, and switch TF32 as it needs."""
    dtype, tf32, bound = PRECISIONS[precision]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    return dtype, bound


def _results(
    setup: Setup, model: nn.Module, x: Tensor, dtype: torch.dtype | None
) -> tuple[list[Tensor], list[Tensor]]:
    """Return maps in training and all parameters' gradients; their dtype and layout are checked."""
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
    """Accept a distance from the truth up to the bound, or up to twice the plain path's."""
    ours, theirs = (max(map(_distance, one, truth)) for one in (found, plain))
    ok = ours <= max(bound, 2 * theirs)
    setup.findings.say(name, ok=ok, ours=float(f'{ours:.1e}'), plain=float(f'{theirs:.1e}'))


def _distance(found: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    """Return the relative distance of two lists of tensors, each as one vector, or nan."""
    a, b = (torch.cat([x.double().flatten() for x in xs]) for xs in (found, truth))
    return ((a - b).norm() / b.norm()).item()


def _segmentors(setup: Setup) -> None:
    """Check loss, gradients and labels of a small UperNet, on whole images and in windows."""
    small = setup._replace(tiny=True)
    task = small.task('segmentor', SEGMENTOR, (64, 72), 2, True, None)
    steps = {fast: _without_dropout(prepare(task, fast=fast)) for fast in (True, False)}
    truth = _of_step(_in_float64(_without_dropout(prepare(task, fast=False))), None)
    for precision in PRECISIONS:
        dtype, bound = _switched(precision)
        name = f'UperNet loss and gradients {precision}'
        with setup.case(name):
            found, plain = (_of_step(steps[fast], dtype) for fast in (True, False))
            _judge(setup, name, found, truth, plain, 5 * bound)
    _switched('float32')
    slide = dict(mode='slide', crop_size=(64, 64), stride=(43, 43))
    for mode in (dict(mode='whole'), slide):
        name = f'UperNet labels, {mode["mode"]}'
        with setup.case(name):
            given = task._replace(training=False, config=task.config | dict(test_cfg=mode))
            fast, slow = (prepare(given, fast=one)(0) for one in (True, False))
            differ = max((fast[key] != slow[key]).float().mean().item() for key in slow)
            setup.findings.say(name, ok=differ < 2e-2, differ=differ)


def _without_dropout(step: Step) -> Step:
    for module in step.model.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return step


def _in_float64(step: Step) -> Step:
    """Return the step with its model and its images (its forward is a partial) in float64."""
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
    """Check a detector's loss against the plain path's in each precision, and that it predicts."""
    small = setup._replace(tiny=True)
    for precision in PRECISIONS:
        dtype, _ = _switched(precision)
        amp = next((name for name, one in DTYPES.items() if one == dtype), None)
        for training in (True, False):
            task = small.task(
                'detector', DETECTOR, (128, 160), 2, training, amp, precision == 'TF32'
            )
            name = f'detector {task.title}'
            with setup.case(name):
                fast, slow = (prepare(task, fast=one)(0) for one in (True, False))
                pairs = [([fast[key]], [slow[key]]) for key in fast]
                differ = max(_distance(*pair) for pair in pairs)
                setup.findings.say(name, ok=differ < 5e-2, differ=differ)
    _switched('float32')


def _operators(setup: Setup) -> None:
    """Compare mmcv's operators on the device with the PyTorch forms in float64 on a CPU."""
    torch.manual_seed(0)
    corners = torch.rand(40, 2) * 150
    boxes = torch.cat([corners, corners + 5 + torch.rand(40, 2) * 60], 1)
    rois = torch.cat([torch.randint(0, 2, (40, 1)), boxes], 1)
    features, scores = torch.randn(2, 32, 50, 60), torch.rand(40)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            name = f'RoIAlign {dtype} {layout}'
            with setup.case(name):
                x = features.to(dtype=dtype, memory_format=layout)
                _check_roi_align(setup, name, x, rois.to(dtype))
        with setup.case(f'nms {dtype}'):
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


def _recorded(setup: Setup, use_grn: bool) -> None:
    """Compare replayed training steps with plain ones: single steps, then two accumulated ones."""
    models = [
        setup.backbone('atto', use_grn, drop_path_rate=0.3, cuda_graph=recorded).train()
        for recorded in (True, False)
    ]
    x = torch.randn(4, 3, 96, 64, device=setup.device)
    for turn in range(8):
        results = []
        for model in models:
            torch.manual_seed(turn)  # the same samples are dropped
            with setup.autocast(torch.bfloat16):
                maps = list(model(x + turn))
            torch.autograd.backward(maps, [torch.full_like(y, 0.5) for y in maps])
            grads = [parameter.grad.clone() for parameter in model.parameters()]
            results.append([y.detach() for y in maps] + grads)
            if turn < 6:
                model.zero_grad(set_to_none=True)
        if turn > 3:
            differ = _distance(*results)
            name = f'{"V2" if use_grn else "V1"} as a CUDA graph, bf16, step {turn}'
            setup.findings.say(name, ok=differ < 1e-2, differ=differ)
