"""Time of nms and RoIAlign: this package's PyTorch against mmcv's compiled CPU operators.

Example:
    python benchmarks/operators.py mmcv-2.1.0-cp311-cp311-linux_x86_64.whl

Takes the compiled operators out of a wheel of mmcv built for this Python and torch, so that both
run in one process, and measures a case of each.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import torch
from rich.console import Console
from torch import Tensor

from mmconvnext.analysis.benchmark.case import Variant, measure_case
from mmconvnext.analysis.benchmark.figure import table
from mmconvnext.analysis.benchmark.step import Step
from mmconvnext.ops import cuda, nms, roi_align

STRIDES = (4, 8, 16, 32)
HEIGHT, WIDTH = 800, 1344
# Of a module with the operators: what they give.
Run = Callable[[ModuleType], dict[str, Tensor]]


def random_boxes(count: int) -> Tensor:
    """Spread over the picture, from 16 to 600 pixels wide, like proposals."""
    sides = 16 * (600 / 16) ** torch.rand(count, 1) * 2.0 ** torch.randn(count, 2).mul(0.4)
    centres = torch.rand(count, 2) * torch.tensor([WIDTH, HEIGHT])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    return boxes.clamp(min=0).minimum(torch.tensor([WIDTH, HEIGHT] * 2))


def nms_case(count: int, groups: int = 1) -> Run:
    """Boxes of so many levels or classes, which mmcv sets apart by an offset."""
    boxes, scores = random_boxes(count), torch.rand(count)
    boxes = boxes + torch.randint(0, groups, (count, 1)) * (WIDTH + 1.0)
    return lambda module: {'kept boxes': module.nms(boxes, scores, iou_threshold=0.7, offset=0)}


def pyramid_case(size: int, count: int, backward: bool) -> Run:
    """One picture, four levels of 256 channels; the RoIs as mmdet's SingleRoIExtractor has them."""
    boxes = random_boxes(count)
    scale = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt()
    levels = (scale / 56 + 1e-6).log2().floor().clamp(0, 3).long()
    jobs = []
    for level, stride in enumerate(STRIDES):
        rois = torch.cat([torch.zeros(count, 1), boxes], 1)[levels == level]
        features = torch.randn(1, 256, HEIGHT // stride, WIDTH // stride)
        grads = torch.randn(len(rois), 256, size, size)
        jobs.append(partial(align, features, rois, grads, 1 / stride, backward, f'level {level}'))
    return lambda module: {name: x for job in jobs for name, x in job(module).items()}


def mask_target_case(count: int) -> Run:
    """As mmdet makes the targets of a picture's positive RoIs: one channel, 28²."""
    masks = (torch.rand(12, 1, HEIGHT, WIDTH) > 0.5).float()
    rois = torch.cat([torch.randint(0, 12, (count, 1)).float(), random_boxes(count)], 1)
    return partial(align, masks, rois, torch.zeros(count, 1, 28, 28), 1.0, False, 'targets')


def align(
    features: Tensor,
    rois: Tensor,
    grads: Tensor,
    scale: float,
    backward: bool,
    name: str,
    module: ModuleType,
) -> dict[str, Tensor]:
    options = dict(aligned_height=grads.shape[2], aligned_width=grads.shape[3])
    options |= dict(spatial_scale=scale, sampling_ratio=0, pool_mode=1, aligned=True)
    nothing, output = features.new_zeros(0), torch.zeros_like(grads)
    module.roi_align_forward(features, rois, output, nothing, nothing, **options)
    if not backward:
        return {name: output}
    gradient = torch.zeros_like(features)
    module.roi_align_backward(grads, rois, nothing, nothing, gradient, **options)
    return {name: output, f'gradient of {name}': gradient}


def cases() -> dict[str, tuple[ModuleType, Callable[[], Run]]]:
    """Who serves each here, and how it is made, by title."""
    found = {f'nms, {n} boxes': (nms, partial(nms_case, n)) for n in (300, 1000, 2000, 5000, 20000)}
    for groups in (5, 80):
        title = f'nms, 5000 boxes of {groups} levels or classes'
        found[title] = nms, partial(nms_case, 5000, groups)
    for size, count, passes in product((7, 14), (512, 1000), ('forward', 'forward and backward')):
        title = f'RoIAlign {size}×{size}, {count} RoIs, 4 levels, {passes}'
        found[title] = roi_align, partial(pyramid_case, size, count, passes != 'forward')
    found['RoIAlign 28×28 of masks, 128 RoIs'] = roi_align, partial(mask_target_case, 128)
    return found


# Those of tools/benchmark.py.
CHOSEN = ('nms, 2000 boxes', 'RoIAlign 7×7, 512 RoIs, 4 levels, forward and backward')


def variants(
    device: str, rivals: Sequence[str] | None = None
) -> tuple[dict[str, list[Variant]], dict[str, str]]:
    """Ours and torchvision's by case, and why the latter is left out."""
    found = {title: [Variant('ours', partial(prepare, title, device))] for title in CHOSEN}
    if not operates(device):
        reason = f'its operators do not load beside this torch, or not on {device}'
        return found, {'torchvision': reason}
    for title in CHOSEN if rivals is None or 'torchvision' in rivals else ():
        theirs = partial(prepare_torchvision, title, device)
        found[title].append(Variant('torchvision', theirs, 'torchvision'))
    return found, {}


def operates(device: str) -> bool:
    """Whether torchvision's operators run on the device."""
    try:
        prepare_torchvision(CHOSEN[0], device)(0)
    except (ImportError, AttributeError, NotImplementedError, RuntimeError):
        return False
    return True


def prepare(title: str, device: str, theirs: ModuleType | None = None) -> Step:
    """A step of a case by our operators, or by those of a module; the same boxes for all."""
    ours, make = cases()[title]
    torch.manual_seed(0)
    with torch.device(device):
        run = make()
    return lambda _: run(theirs or ours)


def prepare_torchvision(title: str, device: str) -> Step:
    return prepare(title, device, cuda)


def load_compiled(wheel: Path, folder: str) -> ModuleType:
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.startswith('mmcv/_ext'))
        path = archive.extract(name, folder)
    spec = importlib.util.spec_from_file_location('_ext', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('wheel', type=Path, help='wheel of mmcv with compiled operators')
    parser.add_argument('--rounds', type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compiled = load_compiled(arguments.wheel, folder)
        for title in cases():
            both = [
                Variant('ours', partial(prepare, title, 'cpu')),
                Variant('mmcv', partial(prepare, title, 'cpu', compiled), 'mmcv'),
            ]
            case = measure_case(title, both, rounds=arguments.rounds, device='cpu')
            Console(width=120).print(table(case))


if __name__ == '__main__':
    main()
