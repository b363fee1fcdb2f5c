"""Time of nms and RoIAlign: this package's PyTorch against mmcv's compiled CPU operators.

Example:
    python benchmarks/operators.py mmcv-2.1.0-cp311-cp311-linux_x86_64.whl

Takes the compiled operators out of a wheel of mmcv built for this Python and torch, so that both
run in one process. Rounds are interleaved, the order drawn anew each time. Given are the medians
and the median of the paired ratios (compiled / ours), with ours / ours as a control.
"""

import argparse
import importlib.util
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import torch
from rich.console import Console
from rich.table import Table

from mmconvnext.ops import nms, roi_align

STRIDES = (4, 8, 16, 32)
HEIGHT, WIDTH = 800, 1344


def load_compiled(wheel: str, folder: str) -> ModuleType:
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.startswith('mmcv/_ext'))
        path = archive.extract(name, folder)
    spec = importlib.util.spec_from_file_location('_ext', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_boxes(count: int) -> torch.Tensor:
    """Spread over the picture, from 16 to 600 pixels wide, like proposals."""
    sides = (
        16
        * (600 / 16) ** torch.rand(count, 1)
        * torch.tensor([2.0]) ** torch.randn(count, 2).mul(0.4)
    )
    centres = torch.rand(count, 2) * torch.tensor([WIDTH, HEIGHT])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    limit = torch.tensor([WIDTH, HEIGHT] * 2)
    return boxes.clamp(min=0).minimum(limit)


def nms_case(count: int, groups: int = 1) -> Callable[[ModuleType], None]:
    """Boxes of so many levels or classes, which mmcv sets apart by an offset."""
    boxes, scores = random_boxes(count), torch.rand(count)
    boxes = boxes + torch.randint(0, groups, (count, 1)) * (WIDTH + 1.0)
    return lambda module: module.nms(boxes, scores, iou_threshold=0.7, offset=0)


def levels_of(boxes: torch.Tensor) -> torch.Tensor:
    """As mmdet's SingleRoIExtractor assigns them."""
    scale = ((boxes[:, 2:] - boxes[:, :2]).prod(1)).sqrt()
    return (scale / 56 + 1e-6).log2().floor().clamp(0, 3).long()


def pyramid_case(size: int, count: int, backward: bool) -> Callable[[ModuleType], None]:
    """One picture, four levels of 256 channels."""
    boxes = random_boxes(count)
    levels = levels_of(boxes)
    jobs = []
    for level, stride in enumerate(STRIDES):
        rois = torch.cat([torch.zeros(count, 1), boxes], 1)[levels == level]
        features = torch.randn(1, 256, HEIGHT // stride, WIDTH // stride)
        jobs.append((features, rois, torch.randn(len(rois), 256, size, size), 1 / stride))
    return lambda module: [align(module, *job, backward) for job in jobs]


def mask_target_case(count: int) -> Callable[[ModuleType], None]:
    """As mmdet makes the targets of a picture's positive RoIs: one channel, 28²."""
    masks = (torch.rand(12, 1, HEIGHT, WIDTH) > 0.5).float()
    rois = torch.cat([torch.randint(0, 12, (count, 1)).float(), random_boxes(count)], 1)
    grads = torch.zeros(count, 1, 28, 28)
    return lambda module: align(module, masks, rois, grads, 1.0, False)


def align(
    module: ModuleType,
    features: torch.Tensor,
    rois: torch.Tensor,
    grads: torch.Tensor,
    scale: float,
    backward: bool,
) -> None:
    options = dict(
        aligned_height=grads.shape[2],
        aligned_width=grads.shape[3],
        spatial_scale=scale,
        sampling_ratio=0,
        pool_mode=1,
        aligned=True,
    )
    nothing = features.new_zeros(0)
    module.roi_align_forward(features, rois, torch.zeros_like(grads), nothing, nothing, **options)
    if backward:
        gradient = torch.zeros_like(features)
        module.roi_align_backward(grads, rois, nothing, nothing, gradient, **options)


def cases() -> Iterator[tuple[str, ModuleType, Callable[[ModuleType], None]]]:
    for count in (300, 1000, 2000, 5000, 20000):
        yield f'nms, {count} boxes', nms, nms_case(count)
    for groups in (5, 80):
        yield f'nms, 5000 boxes of {groups} levels or classes', nms, nms_case(5000, groups)
    for size in (7, 14):
        for count in (512, 1000):
            for backward in (False, True):
                passes = 'forward and backward' if backward else 'forward'
                name = f'RoIAlign {size}×{size}, {count} RoIs, 4 levels, {passes}'
                yield name, roi_align, pyramid_case(size, count, backward)
    yield 'RoIAlign 28×28 of masks, 128 RoIs', roi_align, mask_target_case(128)


def compare(
    ours: ModuleType, compiled: ModuleType, case: Callable[[ModuleType], None], rounds: int
) -> list[float]:
    seconds: dict[str, list[float]] = {'ours': [], 'compiled': [], 'again': []}
    modules = {'ours': ours, 'compiled': compiled, 'again': ours}
    case(ours), case(compiled)
    for _ in range(rounds):
        for name in random.sample(list(modules), 3):
            started = time.perf_counter()
            case(modules[name])
            seconds[name].append(time.perf_counter() - started)
    mine, theirs, control = seconds.values()
    return [
        1e3 * statistics.median(mine),
        1e3 * statistics.median(theirs),
        statistics.median(b / a for a, b in zip(mine, theirs)),
        statistics.median(b / a for a, b in zip(mine, control)),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('wheel', type=Path, help='wheel of mmcv with compiled operators')
    parser.add_argument('--rounds', type=int, default=7)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    table = Table('', 'ours, ms', 'compiled, ms', 'compiled / ours', 'control')
    with tempfile.TemporaryDirectory() as folder:
        compiled = load_compiled(arguments.wheel, folder)
        for name, ours, case in cases():
            numbers = compare(ours, compiled, case, arguments.rounds)
            table.add_row(name, *(f'{number:.3g}' for number in numbers))
    Console(width=120).print(table)


if __name__ == '__main__':
    main()
