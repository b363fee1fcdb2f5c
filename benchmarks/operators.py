"""Cases of nms and RoIAlign: this package's PyTorch, and torchvision's compiled operators."""

from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.case import Variant
from benchmarks.task import STRIDES
from mmconvnext.analysis.benchmark.step import Step
from mmconvnext.ops import cuda, nms, roi_align

HEIGHT, WIDTH = 800, 1344
# Runs a module's operators and returns their results.
Run = Callable[[ModuleType], dict[str, Tensor]]


def variants(
    device: str, rivals: Sequence[str] | None = None
) -> tuple[dict[str, list[Variant]], dict[str, str]]:
    """Return ours and torchvision's variants by case, and why torchvision is skipped, if so."""
    names, left_out = [''], {}
    if not operates(device):
        left_out['torchvision'] = f'its operators do not load with this torch, or not on {device}'
    elif rivals is None or 'torchvision' in rivals:
        names.append('torchvision')
    found = {
        title: [Variant(one or 'ours', partial(prepare, title, device, one), one) for one in names]
        for title in CASES
    }
    return found, left_out


def operates(device: str) -> bool:
    """Return whether torchvision's operators run on the device."""
    try:
        prepare('nms, 2000 boxes', device, 'torchvision')(0)
    except (ImportError, AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


def prepare(title: str, device: str, rival: str = '') -> Step:
    """Return a step of a case with our operators or torchvision's, on the same boxes."""
    ours, make = CASES[title]
    torch.manual_seed(0)
    with torch.device(device):
        run = make()
    return lambda _: run(cuda if rival else ours)


def _nms() -> Run:
    boxes, scores = _random_boxes(2000), torch.rand(2000)
    return lambda module: {'kept boxes': module.nms(boxes, scores, iou_threshold=0.7, offset=0)}


def _roi_align() -> Run:
    """One image, four levels of 256 channels; RoIs are assigned as in SingleRoIExtractor."""
    boxes = _random_boxes(512)
    scale = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    levels = (scale / 56 + 1e-6).log2().floor().clamp(0, 3).long()
    inputs = []
    for level, stride in enumerate(STRIDES):
        rois = torch.cat([torch.zeros(512, 1), boxes], 1)[levels == level]
        features = torch.randn(1, 256, HEIGHT // stride, WIDTH // stride)
        inputs.append((stride, features, rois, torch.randn(len(rois), 256, 7, 7)))

    def run(module: ModuleType) -> dict[str, Tensor]:
        results: dict[str, Tensor] = {}
        for stride, features, rois, grads in inputs:
            options = dict(aligned_height=7, aligned_width=7, spatial_scale=1 / stride)
            options |= dict(sampling_ratio=0, pool_mode=1, aligned=True)
            nothing, output = features.new_zeros(0), torch.zeros_like(grads)
            module.roi_align_forward(features, rois, output, nothing, nothing, **options)
            gradient = torch.zeros_like(features)
            module.roi_align_backward(grads, rois, nothing, nothing, gradient, **options)
            results |= {f'stride {stride}': output, f'gradient of stride {stride}': gradient}
        return results

    return run


def _random_boxes(count: int) -> Tensor:
    """Return boxes like proposals: anywhere in the image, 16 to 600 pixels wide."""
    sides = 16 * (600 / 16) ** torch.rand(count, 1) * 2.0 ** torch.randn(count, 2).mul(0.4)
    centres = torch.rand(count, 2) * torch.tensor([WIDTH, HEIGHT])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    return boxes.clamp(min=0).minimum(torch.tensor([WIDTH, HEIGHT] * 2))


# Our operator and the inputs of each case.
CASES: dict[str, tuple[ModuleType, Callable[[], Run]]] = {
    'nms, 2000 boxes': (nms, _nms),
    'RoIAlign 7×7, 512 RoIs, 4 levels, forward and backward': (roi_align, _roi_align),
}
