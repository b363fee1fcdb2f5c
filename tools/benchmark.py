"""Time and memory against other implementations, their results asserted equal first.

Example:
    python tools/benchmark.py backbone --arch tiny --versions v1 v2 --sizes 224 512
    python tools/benchmark.py head segmentor --train --rivals mmseg --json segmentor.json
    python tools/benchmark.py backbone --device cuda --amp bf16 --batch 16 --sizes 512 --compile

Each is measured as shipped and tuned (channels_last); what is not installed is skipped with a
message. Writes a bar chart for each kind. With benchmarks/rivals.py missing, as after an
installation through mim, ours is compared with ours alone, without its rewrites (fast=False).
"""

import argparse
import dataclasses
import importlib
import inspect
import json
import platform
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

warnings.filterwarnings('ignore', module='mmseg')  # of its own functions, for each variant
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'benchmarks'), str(ROOT)]
# Before mmconvnext: it sees to torchvision. Tested for, so that what it lacks itself is told.
_HAS_RIVALS = (ROOT / 'benchmarks' / 'rivals.py').is_file()
rivals = importlib.import_module('rivals') if _HAS_RIVALS else None

from mmengine.registry import MODELS, DefaultScope  # noqa: E402

from mmconvnext.analysis.benchmark import (  # noqa: E402
    BOUNDS,
    Case,
    MemoryMeter,
    ModelStep,
    Step,
    Tolerances,
    Variant,
    measure_case,
    randomise_vectors,
    work,
)
from mmconvnext.analysis.benchmark_figure import draw, table  # noqa: E402
from mmconvnext.analysis.cost import complexity  # noqa: E402
from mmconvnext.backbones import ARCHITECTURES  # noqa: E402
from mmconvnext.config.config_file import read_config  # noqa: E402
from mmconvnext.errors import UserError, first_line, one_line_errors  # noqa: E402
from mmconvnext.registry import MODELS as OUR_MODELS  # noqa: E402

CONFIGS = {
    'head': 'upernet_convnext_t_ade20k.py',
    'segmentor': 'upernet_convnext_t_ade20k.py',
    'detector': 'mask_rcnn_convnext_t_coco.py',
}
SCOPES = {'backbone': 'mmengine', 'head': 'mmseg', 'segmentor': 'mmseg', 'detector': 'mmdet'}
# In full and with --quick.
SIZES = {
    'backbone': (['224', '512'], ['224']),
    'head': (['512'], ['128']),
    'segmentor': (['512'], ['128']),
    'detector': (['800x1344'], ['320']),
}
ROUNDS = (9, 3)
WARM_UP = (1, 0)  # the comparison of the results is a step too
STRIDES = (4, 8, 16, 32)
DTYPES = {'bf16': torch.bfloat16, 'fp16': torch.float16}
# Random weights give classes and boxes of almost equal scores: some of these change places. And
# among a million ReLUs rounding switches a few on or off.
TOLERANCES = {
    'head': Tolerances(gradients=1e-2),
    'segmentor': Tolerances(outputs=1e-3, gradients=1e-2),
    'detector': Tolerances(outputs=1e-2),
}
# Of mixed precision: two implementations that round at different places.
ROUNDED = Tolerances(outputs=5e-2, gradients=1e-1)


class Task(NamedTuple):
    """What all variants of a case have in common; picklable."""

    kind: str
    config: dict  # of the model
    size: tuple[int, int]
    batch: int
    training: bool
    device: str
    amp: str | None = None  # a key of DTYPES
    tf32: bool = False

    @property
    def dtype(self) -> torch.dtype | None:
        return DTYPES[self.amp] if self.amp else None

    @property
    def title(self) -> str:
        height, width = self.size
        size = f'{height}²' if height == width else f'{height}×{width}'
        precision = f', {self.amp}' if self.amp else ', TF32' if self.tf32 else ''
        step = 'training step' if self.training else 'inference'
        return f'{self.batch} × {size}, {step}{precision}'

    @property
    def tolerances(self) -> Tolerances:
        return ROUNDED if self.amp or self.tf32 else TOLERANCES.get(self.kind, BOUNDS)


def prepare(
    task: Task,
    build: Callable[[nn.Module, dict], tuple[nn.Module, Mapping[str, str]]] | None = None,
    *,
    channels_last: bool = False,
    compiled: bool = False,
    fast: bool = True,
    options: Mapping[str, object] | None = None,
) -> Step:
    """A step of ours, or of what ``build`` makes of ours; ``options`` are our backbone's."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(SCOPES[task.kind]):
        config = task.config if fast else plain(task.config)
        config = with_options(task.kind, config, options or {})
        model, names = MODELS.build(ConfigDict(config)), None
    randomise_vectors(model)
    if task.kind == 'detector':
        _have_detections(model)
    if build:
        model, names = build(model, task.config)
    _condition(model)
    model.train(task.training)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model.to(task.device)
    if channels_last:
        model.to(memory_format=layout)
    if compiled:
        # On CUDA inductor would draw otherwise what stochastic depth drops.
        importlib.import_module('torch._inductor.config').fallback_random = True
        for part in (model.backbone, model.neck) if task.kind == 'detector' else (model,):
            part.compile()
    torch.manual_seed(1)
    return PREPARE[task.kind](model, names, task, layout)


def _condition(model: nn.Module) -> None:
    """Keep batch norms over the two values of a pooled pixel from magnifying rounding.

    Where the two almost agree, the usual epsilon makes the gradient hundreds of times the norm's
    input. The time is the same.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eps = 0.1


def plain(config: object) -> object:
    """The config with ``fast=False`` wherever ours takes it."""
    if isinstance(config, list | tuple):
        return type(config)(plain(value) for value in config)
    if not isinstance(config, dict):
        return config
    changed = {key: plain(value) for key, value in config.items()}
    kind = config.get('type')
    if isinstance(kind, str) and kind.startswith('mmconvnext.'):
        found = OUR_MODELS.get(kind.removeprefix('mmconvnext.'))
        if found and 'fast' in inspect.signature(found).parameters:
            changed['fast'] = False
    return changed


def with_options(kind: str, config: dict, options: Mapping[str, object]) -> dict:
    """The config with more options of its backbone."""
    if kind == 'backbone':
        return config | options
    return config | dict(backbone=config['backbone'] | options) if options else config


def _have_detections(model: nn.Module) -> None:
    # Of random weights no class is likelier than the threshold: nothing would be left to mask.
    with torch.no_grad():
        for head in _box_heads(model):
            head.fc_cls.weight.mul_(30)


def _box_heads(model: nn.Module) -> list[nn.Module]:
    """A cascade's, or the one there is."""
    heads = model.roi_head.bbox_head
    return list(heads) if isinstance(heads, nn.ModuleList) else [heads]


def prepare_backbone(
    model: nn.Module, names: Mapping[str, str] | None, task: Task, layout: torch.memory_format
) -> Step:
    x = _images(task, layout)
    return ModelStep(
        model, lambda: {f'map {i}': y for i, y in enumerate(model(x))}, names, amp=task.dtype
    )


def prepare_head(
    model: nn.Module, names: Mapping[str, str] | None, task: Task, layout: torch.memory_format
) -> Step:
    leaves = {}
    for channels, stride in zip(task.config['in_channels'], STRIDES):
        shape = (task.batch, channels, *(side // stride for side in task.size))
        x = torch.randn(shape).to(task.device).contiguous(memory_format=layout)
        leaves[f'input at stride {stride}'] = x.requires_grad_(task.training)
    maps = list(leaves.values())
    return ModelStep(model, lambda: {'logits': model(maps)}, names, leaves, task.dtype)


def prepare_segmentor(
    model: nn.Module, names: Mapping[str, str] | None, task: Task, layout: torch.memory_format
) -> Step:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    x = _images(task, layout)
    samples = []
    for _ in range(task.batch):
        labels = torch.randint(0, model.num_classes, (1, *task.size), device=task.device)
        sample = SegDataSample(metainfo=_meta(task), gt_sem_seg=PixelData(data=labels))
        samples.append(sample)

    def predict() -> dict[str, Tensor]:
        predicted = model(x, samples, mode='predict')
        return {f'labels {i}': one.pred_sem_seg.data for i, one in enumerate(predicted)}

    forward = partial(_loss, model, x, samples) if task.training else predict
    return ModelStep(model, forward, names, amp=task.dtype)


def prepare_detector(
    model: nn.Module, names: Mapping[str, str] | None, task: Task, layout: torch.memory_format
) -> Step:
    x = _images(task, layout)
    samples = [_detection_sample(task, _box_heads(model)[0].num_classes) for _ in range(task.batch)]
    features: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, maps: Sequence[Tensor]) -> None:
        features.update({f'pyramid {i}': y.detach() for i, y in enumerate(maps)})

    model.neck.register_forward_hook(keep)

    def run() -> dict[str, Tensor]:
        if task.training:
            return features | _loss(model, x, samples)
        model(x, samples, mode='predict')
        return features

    # Boxes are chosen by score: gradients of two equal models differ where two boxes almost tie.
    return ModelStep(model, run, {}, amp=task.dtype)


def _detection_sample(task: Task, classes: int, instances: int = 12):
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    height, width = task.size
    corners = torch.rand(instances, 2) * torch.tensor([width, height]) * 0.6
    sides = (0.1 + 0.3 * torch.rand(instances, 2)) * torch.tensor([width, height])
    boxes = torch.cat([corners, corners + sides], 1)
    masks = torch.rand(instances, height, width) > 0.5
    truth = InstanceData(
        bboxes=boxes.to(task.device),
        labels=torch.randint(0, classes, (instances,), device=task.device),
        masks=BitmapMasks(masks.numpy().astype('uint8'), height, width),
    )
    return DetDataSample(metainfo=_meta(task), gt_instances=truth)


def _meta(task: Task) -> dict:
    shapes = ('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape')
    return dict.fromkeys(shapes, task.size) | {'scale_factor': (1.0, 1.0)}


def _loss(model: nn.Module, x: Tensor, samples: list) -> dict[str, Tensor]:
    total, _ = model.parse_losses(model(x, samples, mode='loss'))
    return {'loss': total}


def _images(task: Task, layout: torch.memory_format) -> Tensor:
    x = torch.randn(task.batch, 3, *task.size).to(task.device)
    return x.contiguous(memory_format=layout)


PREPARE = {
    'backbone': prepare_backbone,
    'head': prepare_head,
    'segmentor': prepare_segmentor,
    'detector': prepare_detector,
}


def count_macs(task: Task) -> int | None:
    """Nominal multiply-accumulates of a step, rewrites not counted; None where RoIs decide."""
    height, width = task.size
    config = Config(dict(model=plain(task.config), default_scope=SCOPES[task.kind]))
    if task.kind == 'detector':
        if task.training:
            return None
        return task.batch * complexity.count(config, height, width).macs
    if task.kind == 'segmentor':
        macs = task.batch * complexity.count(config, height, width).macs
    else:
        model, meta = complexity.build_on_meta(config), partial(torch.empty, device='meta')
        inputs = meta(task.batch, 3, height, width)
        if task.kind == 'head':
            inputs = [
                meta(task.batch, channels, height // stride, width // stride)
                for channels, stride in zip(config.model.in_channels, STRIDES)
            ]
        macs = complexity.count_macs(model, inputs)
    return macs * (3 if task.training else 1)  # two gradients cost a forward pass each


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('kinds', nargs='+', choices=(*SCOPES, 'ops'), help='what to measure')
    parser.add_argument('--arch', default='tiny', choices=_architectures(), metavar='ARCH',
                        help=f'backbone: {", ".join(_architectures())} (default tiny)')  # fmt: skip
    parser.add_argument('--versions', nargs='+', default=['v1'], choices=('v1', 'v2'),
                        help='backbone: ConvNeXt V1, V2 or both')  # fmt: skip
    parser.add_argument('--config', help='head, segmentor, detector: config file of the model')
    parser.add_argument(
        '--sizes', nargs='+', metavar='SIDE|HxW', help='inputs in pixels; each kind has its own'
    )
    parser.add_argument('--batch', type=int, help='default: 2 in training, 1 in inference')
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument('--train', action='store_true', help='training steps alone')
    modes.add_argument('--infer', action='store_true', help='inference alone')
    parser.add_argument('--rivals', help='names with commas between, or none; default: all there')
    parser.add_argument(
        '--compile',
        action='store_true',
        help='torch.compile as well, of whole models and of our blocks alone; minutes',
    )
    parser.add_argument('--amp', choices=DTYPES, help='mixed precision; default: float32')
    parser.add_argument('--tf32', action='store_true', help='let CUDA round float32 products')
    parser.add_argument('--device', default='cpu', help='cpu (default) or cuda')
    parser.add_argument('--rounds', type=int, help=f'default: {ROUNDS[0]}, quick {ROUNDS[1]}')
    parser.add_argument('--quick', action='store_true', help='fewer rounds, smaller inputs')
    parser.add_argument('--no-memory', action='store_true', help='leave the peak memory out')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the numbers')
    parser.add_argument(
        '--out', type=Path, default=Path('work_dirs/benchmark'), help='folder of the bar charts'
    )
    return parser.parse_args()


def _architectures() -> list[str]:
    # The rivals have one epsilon built in.
    return [name for name, architecture in ARCHITECTURES.items() if architecture.eps == 1e-6]


def check_arguments(arguments: argparse.Namespace) -> list[str] | None:
    """The rivals asked for, None for all; refuses what cannot be measured."""
    if arguments.device != 'cpu' and not arguments.device.startswith('cuda'):
        raise UserError(f'--device: expected cpu or cuda, got {arguments.device}')
    try:
        torch.empty(1, device=arguments.device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'--device: expected cpu or a GPU that is there, got {arguments.device} '
            f'({first_line(error)})'
        ) from error
    make_folders(arguments)
    for name in ('rounds', 'batch'):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise UserError(f'--{name}: expected 1 or more, got {getattr(arguments, name)}')
    if arguments.rivals is None or rivals is None:
        return None
    names = [] if arguments.rivals == 'none' else arguments.rivals.split(',')
    unknown = [name for name in names if name not in rivals.RIVALS]
    if unknown:
        raise UserError(
            f'--rivals: expected none or some of {", ".join(rivals.RIVALS)}, got '
            f'{", ".join(unknown)}'
        )
    return names


def make_folders(arguments: argparse.Namespace) -> None:
    """Now: what cannot be written is to be told before minutes of measuring."""
    folders = [('--out', arguments.out)]
    if arguments.json:
        folders.append(('--json', arguments.json.parent))
        if arguments.json.is_dir():
            raise UserError(f'--json: expected a file to write, got the folder {arguments.json}')
    for option, folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f'{option}: expected a folder to write to ({error})') from error


def parse_size(text: str) -> tuple[int, int]:
    sides = text.lower().split('x')
    if len(sides) > 2 or not all(re.fullmatch('[0-9]+', side) for side in sides):
        raise UserError(f'--sizes: expected SIDE or HxW, such as 512 or 800x1344, got {text}')
    size = int(sides[0]), int(sides[-1])
    if min(size) < 32:
        raise UserError(f'--sizes: expected at least 32 pixels, got {text}')
    return size


def model_configs(kind: str, arguments: argparse.Namespace) -> Iterator[tuple[str, dict]]:
    """Name and config of each model of a kind."""
    if kind == 'backbone':
        for version in arguments.versions:
            use_grn = version == 'v2'
            options = dict(arch=arguments.arch, use_grn=use_grn, drop_path_rate=0.4)
            if not use_grn:
                options['layer_scale_init_value'] = 1.0
            name = f'ConvNeXt-{arguments.arch} {version.upper()}'
            yield name, dict(type='mmconvnext.ConvNeXt', **options)
        return
    path = Path(arguments.config or ROOT / 'configs' / CONFIGS[kind])
    if not path.is_file():
        raise UserError(f'--config: expected a config file, got {path}')
    model = read_config(path).model.to_dict()
    required = 'roi_head' if kind == 'detector' else 'decode_head'
    if required not in model:
        raise UserError(f'--config: expected a model with a {required} for {kind}, got {path}')
    model['backbone'].pop('init_cfg', None)
    model = batch_norm(model)
    if kind == 'head':
        model = model['decode_head']
        OUR_MODELS.import_from_location()
        if model['type'] in OUR_MODELS.module_dict:
            model['type'] = f'mmconvnext.{model["type"]}'
    elif kind == 'segmentor':
        model['test_cfg'] = dict(mode='whole')
    yield f'{kind.capitalize()} of {path.stem}', model


def batch_norm(config: object) -> object:
    # One process: there is nothing to synchronise, and a CPU cannot.
    if isinstance(config, dict):
        changed = {key: batch_norm(value) for key, value in config.items()}
        return changed | ({'type': 'BN'} if config.get('type') == 'SyncBN' else {})
    if isinstance(config, list | tuple):
        return type(config)(batch_norm(value) for value in config)
    return config


def tasks(kind: str, arguments: argparse.Namespace) -> Iterator[tuple[str, Task]]:
    sizes = arguments.sizes or SIZES[kind][arguments.quick]
    for name, config in model_configs(kind, arguments):
        for size in map(parse_size, sizes):
            for training in (False, True):
                if (training and arguments.infer) or (not training and arguments.train):
                    continue
                batch = arguments.batch or (2 if training else 1)
                if training and batch < 2 and kind in ('head', 'segmentor'):
                    raise UserError(
                        f'--batch: expected 2 or more to train a {kind}, whose batch norms see '
                        f'one pixel a picture, got {batch}'
                    )
                task = Task(
                    *(kind, config, size, batch, training, arguments.device),
                    amp=arguments.amp,
                    tf32=arguments.tf32,
                )
                yield f'{name}, {task.title}', task


def variants(
    task: Task, names: Sequence[str] | None, with_compiled: bool
) -> tuple[list[Variant], dict[str, str]]:
    """Ours first, then ours without rewrites, then the rivals; and who is left out."""
    found = [Variant('ours', partial(prepare, task))]
    if plain(task.config) != task.config:
        found.append(Variant('ours, fast=False', partial(prepare, task, fast=False)))
    if with_compiled:
        found.append(Variant('ours, compiled', partial(prepare, task, compiled=True)))
        if task.kind != 'head':
            blocks = partial(prepare, task, options={'compile_blocks': True})
            found.append(Variant('ours, blocks compiled', blocks))
    if rivals is None:
        return found, {'all rivals': 'benchmarks/rivals.py is not here'}
    candidates, left_out = rivals.candidates(
        task.kind, names, use_grn=task.config.get('use_grn', False), compiled=with_compiled
    )
    for one in candidates:
        step = partial(
            *(prepare, task, one.build), channels_last=one.channels_last, compiled=one.compiled
        )
        tuned = one.channels_last or one.compiled
        found.append(Variant(one.name, step, one.rival, tuned))
    return found, left_out


class Job(NamedTuple):
    """A case that is still to be measured."""

    kind: str
    title: str
    variants: list[Variant]
    macs: int | None
    tolerances: Tolerances = BOUNDS
    amp: torch.dtype | None = None


def jobs(
    arguments: argparse.Namespace, names: Sequence[str] | None
) -> tuple[list[Job], dict[str, str]]:
    found, left_out = [], {}
    for kind in arguments.kinds:
        if kind == 'ops':
            ours, missing = operator_jobs(arguments.device, names)
            found += ours
            left_out |= {f'{name} (ops)': why for name, why in missing.items()}
            continue
        for title, task in tasks(kind, arguments):
            given, missing = variants(task, names, arguments.compile)
            macs = count_macs(task)
            found.append(Job(kind, title, given, macs, task.tolerances, task.dtype))
            version = ' V2' if task.config.get('use_grn') else ''
            left_out |= {f'{name} ({kind}{version})': why for name, why in missing.items()}
    return found, left_out


def operator_jobs(device: str, names: Sequence[str] | None) -> tuple[list[Job], dict[str, str]]:
    if rivals is None:
        return [], {'all': 'benchmarks/rivals.py is not here'}
    cases, left_out = rivals.operator_cases(device)
    found = []
    for title, steps in cases.items():
        given = [
            Variant(name, step, '' if name == 'ours' else name)
            for name, step in steps.items()
            if name == 'ours' or names is None or name in names
        ]
        found.append(Job('ops', title, given, None))
    return found, left_out


def measure(
    job: Job, number: str, arguments: argparse.Namespace, memory: MemoryMeter | None
) -> Case:
    # Of a training step where it has to be quick: there it decides what fits.
    if arguments.quick and 'inference' in job.title:
        memory = None
    options = dict(
        rounds=arguments.rounds or ROUNDS[arguments.quick],
        warm_up=WARM_UP[arguments.quick],
        memory=memory,
    )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(number, total=work(len(job.variants), **options))

        def report(what: str) -> None:
            progress.update(bar, advance=1, description=f'{number} {job.title}: {what}')

        return measure_case(
            job.title,
            job.variants,
            device=arguments.device,
            macs=job.macs,
            tolerances=job.tolerances,
            amp=job.amp,
            report=report,
            **options,
        )


def open_meter(arguments: argparse.Namespace) -> AbstractContextManager[MemoryMeter | None]:
    if arguments.no_memory or arguments.device != 'cpu':
        return nullcontext()
    return MemoryMeter(rivals.imported() if rivals else ())


def machine(device: str) -> dict[str, object]:
    names = [
        line.split(':', 1)[1].strip()
        for line in Path('/proc/cpuinfo').read_text().splitlines()
        if line.startswith('model name')
    ] if Path('/proc/cpuinfo').is_file() else [platform.processor()]  # fmt: skip
    return {
        'device': torch.cuda.get_device_name(device) if device != 'cpu' else names[0],
        'threads': torch.get_num_threads(),
        'torch': torch.__version__,
        'date': time.strftime('%Y-%m-%d'),
        'command': shlex.join(['python', *sys.argv]),
    }


def main() -> None:
    arguments = parse_arguments()
    names = check_arguments(arguments)
    todo, left_out = jobs(arguments, names)
    # float32 of all, as the ceiling's, if nothing else is asked for.
    torch.backends.cudnn.allow_tf32 = arguments.tf32
    torch.backends.cuda.matmul.allow_tf32 = arguments.tf32
    here = machine(arguments.device)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(', '.join(f'{key} {value}' for key, value in here.items()), highlight=False)
    for name, reason in left_out.items():
        console.print(f'left out: {name}: {reason}', highlight=False)
    cases: dict[str, list[Case]] = {}
    with open_meter(arguments) as memory:
        for number, job in enumerate(todo, 1):
            case = measure(job, f'{number}/{len(todo)}', arguments, memory)
            cases.setdefault(job.kind, []).append(case)
            console.print(table(case))
    if arguments.json:
        content = {'machine': here, 'left_out': left_out}
        content['cases'] = {k: [dataclasses.asdict(c) for c in v] for k, v in cases.items()}
        arguments.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + '\n')
        print(f'written: {arguments.json}')
    for kind, measured in cases.items():
        path = arguments.out / f'{kind}.png'
        draw(measured, path)
        print(f'written: {path}')


if __name__ == '__main__':
    with one_line_errors():
        main()
