"""Small datasets, good and bad, through custom_dataset, check_dataset, train and infer.

``check_dataset`` keeps its promise if every dataset of which it says "ready to train" trains for a
few steps with a loss that is a number other than 0, is evaluated, and gives predictions. Run
``python -m tests.campaigns.ready`` for a table of all cases.
"""

import contextlib
import importlib.util
import io
import json
import math
import multiprocessing
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from PIL import Image

from mmconvnext.data.detection_samples import write_detection_samples
from tests.conftest import CONFIGS, ROOT

BASES = {
    'upernet': CONFIGS / 'upernet_convnext_atto_samples.py',
    'mask_rcnn': CONFIGS / 'mask_rcnn_convnext_atto_samples.py',
    'cascade': CONFIGS / 'cascade_mask_rcnn_convnext_atto_samples.py',
}
RETINA = """
_base_ = {base!r}
model = dict(
    _delete_=True,
    type='RetinaNet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True, pad_size_divisor=32,
    ),
    backbone=dict(type='mmconvnext.ConvNeXt', arch='atto', out_indices=(1, 2, 3)),
    neck=dict(type='FPN', in_channels=[80, 160, 320], out_channels=32, num_outs=3),
    bbox_head=dict(
        type='RetinaHead', num_classes=80, in_channels=32, stacked_convs=1, feat_channels=32,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=2, scales_per_octave=1, ratios=[1.0],
            strides=[8, 16, 32],
        ),
    ),
    train_cfg=dict(
        assigner=dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'), allowed_border=-1, pos_weight=-1,
    ),
    test_cfg=dict(
        nms_pre=100, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10
    ),
)
"""
COLOURS = np.array([(60, 60, 60), (220, 40, 40), (40, 220, 40), (40, 40, 220), (220, 220, 40),
                    (40, 220, 220)], np.uint8)  # fmt: skip


# Segmentation -----------------------------------------------------------------------------------

Sizes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Labelled:
    """Images of squares, and their label maps.

    ``ids`` are the ids of the classes that occur, ``sizes`` (height, width) of the images in turn.
    """

    ids: tuple[int, ...] = (0, 1)
    sizes: Sizes = ((48, 48),)
    image: str = 'jpg'
    labels: str = 'L'
    counts: tuple[int, int] = (6, 2)
    spoil: Callable[[Path], object] = lambda root: None

    def write(self, root: Path) -> list[str]:
        rng = np.random.default_rng(0)
        arguments = []
        for split, count in zip(('train', 'val'), self.counts):
            for name in ('images', 'labels'):
                (root / split / name).mkdir(parents=True)
                arguments += [f'--{split}-{name}', str(root / split / name)]
            for place in range(count):
                height, width = self.sizes[place % len(self.sizes)]
                index = np.zeros((height, width), np.uint8)
                for kind in range(1, len(self.ids)):
                    top, left = rng.integers(0, (height // 2, width // 2))
                    index[top : top + height // 3, left : left + width // 3] = kind
                pixels = COLOURS[index] + rng.integers(0, 30, (height, width, 1), dtype=np.uint8)
                write_image(root / split / 'images' / f'{split}{place}', pixels, self.image)
                labels = np.array(self.ids)[index]
                write_labels(root / split / 'labels' / f'{split}{place}.png', labels, self.labels)
        self.spoil(root)
        return arguments


def write_image(stem: Path, rgb: np.ndarray, kind: str) -> None:
    """Write an image, as ``MODE ENDING`` or ``ENDING`` says."""
    *modes, ending = kind.split()
    path = f'{stem}.{ending}'
    if 'F' in modes or 'I' in modes or 'pages' in modes:
        pages = [rgb[..., 0] / np.float32(255)] if 'F' in modes else [rgb[..., 0].astype(np.int16)]
        cv2.imwritemulti(path, [*rgb.transpose(2, 0, 1)] if 'pages' in modes else pages)
        return
    bits = next((int(mode) for mode in modes if mode.isdigit()), 8)
    if bits > 8:
        pixels = rgb[..., ::-1].astype(np.uint16) << (bits - 8)
        cv2.imwrite(path, pixels[..., 0] if 'L' in modes else pixels)
    else:
        image = Image.fromarray(rgb)
        if 'CMYK' not in modes and modes:
            image = image.convert('P' if modes[0] == 'P' else modes[0])
        elif modes:
            image = image.convert('CMYK')
        image.save(path)


def write_labels(path: Path, labels: np.ndarray, kind: str) -> None:
    if kind == '16':
        Image.fromarray(labels.astype(np.uint16)).save(path)
        return
    image = Image.fromarray(labels.astype(np.uint8))
    if kind == 'P':
        image.putpalette([*COLOURS.ravel().tolist()])
    image.convert('RGB' if kind == 'RGB' else image.mode).save(path)


def rewrite(pattern: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for path in sorted(root.glob(pattern)):
            Image.fromarray(change(np.array(Image.open(path)))).save(path)

    return spoil


def remove(pattern: str) -> Callable[[Path], None]:
    return lambda root: [path.unlink() for path in sorted(root.glob(pattern))]


def ignore(labels: np.ndarray) -> np.ndarray:
    return np.full_like(labels, 255)


def copy_first(place: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / place).parent.mkdir(exist_ok=True)
        shutil.copy(root / 'train/images/train0.jpg', root / place)

    return spoil


def break_link(root: Path) -> None:
    path = root / 'train/images/train3.jpg'
    path.unlink()
    path.symlink_to('nowhere.jpg')


def copy_to_validation(root: Path) -> None:
    for name, ending in (('images', 'jpg'), ('labels', 'png')):
        for place in range(2):
            source = root / 'train' / name / f'train{place}.{ending}'
            shutil.copy(source, root / 'val' / name / f'val{place}.{ending}')


# Detection --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Annotated:
    """Images of shapes as COCO, after a change of each json, and of the folder."""

    change: Callable[[dict], object] = lambda content: None
    splits: tuple[str, ...] = ('train', 'val')
    counts: tuple[int, int] = (6, 2)
    spoil: Callable[[Path], object] = lambda root: None
    size: int = 64

    def write(self, root: Path) -> list[str]:
        training, validation = self.counts
        write_detection_samples(root, training=training, validation=validation, size=self.size)
        arguments = []
        for split in ('train', 'val'):
            file = root / 'annotations' / f'instances_{split}2017.json'
            if split in self.splits:
                content = json.loads(file.read_text())
                self.change(content)
                file.write_text(json.dumps(content))
            arguments += [f'--{split}-ann', str(file)]
            arguments += [f'--{split}-images', str(root / f'{split}2017')]
        self.spoil(root)
        return arguments


def only(*categories: int) -> Callable[[dict], None]:
    """Keep categories by place, and their annotations."""

    def change(content: dict) -> None:
        kept = [content['categories'][place] for place in categories]
        ids = {category['id'] for category in kept}
        content['categories'] = kept
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] in ids]

    return change


def each(**values: object) -> Callable[[dict], None]:
    """Set values in every annotation; a function gets the annotation, None removes a key."""

    def change(content: dict) -> None:
        for annotation in content['annotations']:
            for name, value in values.items():
                annotation[name] = value(annotation) if callable(value) else value
                if value is None:
                    del annotation[name]

    return change


def no_annotations(content: dict) -> None:
    content['annotations'] = []


def first_without(content: dict) -> None:
    del content['annotations'][0]['segmentation']


def one_annotated(content: dict) -> None:
    first = content['images'][0]['id']
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] == first]


def first_kind_only(content: dict) -> None:
    first = content['categories'][0]['id']
    content['annotations'] = [a for a in content['annotations'] if a['category_id'] == first]


def two_more_categories(content: dict) -> None:
    content['categories'] += [dict(id=90 + n, name=f'more {n}') for n in range(2)]
    for place, annotation in enumerate(content['annotations']):
        annotation['category_id'] = content['categories'][place % 6]['id']


def convert(mode: str, ending: str = 'png') -> Callable[[Path], None]:
    """Save all images in another mode; jpg files keep their name, whatever they hold."""

    def spoil(root: Path) -> None:
        for path in sorted(root.glob('*2017/*')):
            rgb = np.array(Image.open(path).convert('RGB'))
            path.unlink()
            write_image(path.with_suffix(''), rgb, f'{mode} {ending}')
        for file in (root / 'annotations').iterdir():
            file.write_text(re.sub(r'\.jpg', f'.{ending}', file.read_text()))

    return spoil


def mixed_sizes(root: Path) -> None:
    """Cut half of the images, boxes stay inside."""
    for split in ('train', 'val'):
        file = root / 'annotations' / f'instances_{split}2017.json'
        content = json.loads(file.read_text())
        for image in content['images'][::2]:
            path = root / f'{split}2017' / image['file_name']
            for annotation in content['annotations']:
                left, top, width, height = annotation['bbox']
                right, low = left + width, top + height
                annotation['segmentation'] = [[left, top, right, top, right, low, left, low]]
            wide = cv2.copyMakeBorder(cv2.imread(str(path)), 0, 9, 0, 40, cv2.BORDER_REFLECT)
            cv2.imwrite(str(path), wide)
            image['height'], image['width'] = wide.shape[:2]
        file.write_text(json.dumps(content))


# Cases ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A dataset, and the options of custom_dataset; ``good``: whether it has to be ready."""

    name: str
    data: Labelled | Annotated
    good: bool
    options: tuple[object, ...] = ()
    base: str = ''
    train: tuple[str, ...] = ()  # --cfg-options of all later tools

    @property
    def length(self) -> tuple[str, str]:
        return ('--iters', '3') if isinstance(self.data, Labelled) else ('--epochs', '1')


def seg(name: str, good: bool, *options: object, train: tuple[str, ...] = (), **data: object):
    return Case(name, Labelled(**data), good, ('--batch-size', 2, *options), 'upernet', train)


def det(
    name: str, good: bool, *, base: str = 'mask_rcnn', batch: int = 2, train=(), **data: object
):
    return Case(name, Annotated(**data), good, ('--batch-size', batch), base, train)


THREE = ('--classes', 'a', 'b', 'c')
TWO = ('--classes', 'ground', 'thing')
ONE = ('--classes', 'trail')
WEIGHTS = (
    'model.decode_head.loss_decode.class_weight=[1,2,3]',
    'model.decode_head.loss_decode.avg_non_ignore=True',
)
MIXED = ((48, 48), (120, 150), (64, 200))
CASES = [
    seg('2 classes 0/1', True),
    seg('3 classes by name', True, *THREE, ids=(0, 1, 2)),
    seg('6 classes', True, ids=tuple(range(6))),
    seg('6 classes from 1', True, ids=tuple(range(1, 7))),
    seg('3 classes from 1 by name', True, *THREE, ids=(1, 2, 3)),
    seg('3 classes, 0 unlabelled', True, *THREE, ids=(0, 1, 2, 3)),
    seg('3 classes, 255 ignored', True, *THREE, ids=(0, 1, 2, 255)),
    seg('another ignored id', True, '--ignore-index', 9, *TWO, ids=(0, 1, 9)),
    seg('one class 0/1', True, *ONE),
    seg('one class 0/1/255', True, *ONE, ids=(0, 1, 255)),
    seg('one class, 0 unlabelled', False, *ONE, '--reduce-zero-label'),
    seg('one class 0/255', False, *ONE, ids=(0, 255)),
    seg('two names 0/255', False, *TWO, ids=(0, 255)),
    seg('no names 0/255', False, ids=(0, 255)),
    seg('two names 0/128', False, *TWO, ids=(0, 128)),
    seg('no names 0/128', False, ids=(0, 128)),
    seg('three names 0/127/255', False, *THREE, ids=(0, 127, 255)),
    seg('gap of one id', True, ids=(0, 1, 3)),
    seg('gaps by name', False, *THREE, ids=(1, 5, 9)),
    seg('one id: 0', False, ids=(0,)),
    seg('one id: 1', False, *ONE, ids=(1,)),
    seg('1 and 255', False, ids=(1, 255)),
    seg(
        'one class in training alone', False, *TWO,
        spoil=rewrite('train/labels/*', lambda ids: ids * 0),
    ),
    seg(
        'one class in validation alone', True, *TWO,
        spoil=rewrite('val/labels/*', lambda ids: ids * 0),
    ),
    seg(
        'nothing labelled in validation', False, *TWO,
        spoil=rewrite('val/labels/*', ignore),
    ),
    seg('palette', True, ids=(0, 1, 2), labels='P'),
    seg('coloured labels', False, labels='RGB'),
    seg('16-bit labels', True, labels='16'),
    seg('16-bit labels above 255', False, ids=(0, 300), labels='16'),
    seg('png', True, image='png'),
    seg('grey png', True, image='L png'),
    seg('grey and alpha png', True, image='LA png'),
    seg('rgba png', True, image='RGBA png'),
    seg('palette png', True, image='P png'),
    seg('tif', True, image='tif'),
    seg('rgba tif', True, image='RGBA tif'),
    seg('cmyk jpg', True, image='CMYK jpg'),
    seg('bmp', True, image='bmp'),
    seg('webp', True, image='webp'),
    seg('16-bit png', True, image='16 png'),
    seg('12-bit png', False, image='12 png'),
    seg('12-bit grey tif', False, image='L 12 tif'),
    seg('10-bit tif', False, image='10 tif'),
    seg('16-bit tif with signs', False, image='I tif'),
    seg('tif of floats', False, image='F tif'),
    seg('tif of 3 pages', True, image='pages tif'),
    seg('mixed sizes', True, sizes=MIXED),
    seg('mixed sizes, validation in batches', False, sizes=MIXED, counts=(6, 4),
        train=('val_dataloader.batch_size=2', 'test_dataloader.batch_size=2')),
    seg('mixed small sizes', True, sizes=((32, 40), (48, 33))),
    seg('odd sizes', True, sizes=((37, 51),)),
    seg('tiny images', False, sizes=((9, 7),)),
    seg('one tiny image', False, sizes=((48, 48), (20, 40))),
    seg('two sizes, one without a crop', True, sizes=((48, 48), (96, 96))),
    seg('larger than the base', True, sizes=((130, 130),)),
    seg('one image', True, counts=(1, 1)),
    seg('batch of one image', False, '--batch-size', 1),
    seg('larger batch than images', True, '--batch-size', 8, counts=(3, 1)),
    seg('validation empty', False, spoil=remove('val/*/*')),
    seg('a label map missing', False, spoil=remove('train/labels/train3.png')),
    seg('an image missing', True, spoil=remove('train/images/train3.jpg')),
    seg('an image in two splits', False, spoil=copy_to_validation),
    seg('labels of another size', False, spoil=rewrite('train/labels/*', lambda ids: ids[:40])),
    seg('one label map ignored', True, spoil=rewrite('train/labels/train3.png', ignore)),
    seg('training labels ignored', False, spoil=rewrite('train/labels/*', ignore)),
    seg('class weights, 255 ignored', True, *THREE, ids=(0, 1, 2, 255), train=WEIGHTS),
    seg('class weights of another number', False, *TWO, train=WEIGHTS),
    seg('hidden files', True, spoil=copy_first('train/images/._train0.jpg')),
    seg('a hidden folder', False, spoil=copy_first('train/images/.copies/train0.jpg')),
    seg('a broken link', False, spoil=break_link),
    seg('an empty name', False, '--classes', '', 'thing'),
    seg('workers without workers', True, train=('train_dataloader.persistent_workers=True',)),
    det('4 categories', True),
    det('1 category', True, change=only(0)),
    det('6 categories', True, change=two_more_categories),
    det('cascade, 3 categories', True, base='cascade', change=only(0, 1, 3)),
    det('cascade, boxes alone', True, base='cascade', change=each(segmentation=None)),
    det('boxes alone', True, change=each(segmentation=None)),
    det('boxes-only detector', True, base='retina'),
    det('boxes-only detector, no masks', True, base='retina', change=each(segmentation=None)),
    det('a mask missing', False, change=first_without),
    det('one category occurs', True, change=first_kind_only),
    det('one image with objects', True, splits=('train',), change=one_annotated),
    det('nothing to train on', False, splits=('train',), change=no_annotations),
    det('nothing to evaluate', False, splits=('val',), change=no_annotations),
    det('crowds alone', False, change=each(iscrowd=1)),
    det('one image', True, counts=(1, 1)),
    det('batch of one image', True, batch=1),
    det('larger batch than images', True, counts=(3, 1), batch=8),
    det('fewer images than a batch, dropped', False, counts=(3, 1), batch=8,
        train=('train_dataloader.drop_last=True',)),
    det('corners as boxes', False, change=each(
        bbox=lambda a: [*a['bbox'][:2], a['bbox'][0] + a['bbox'][2], a['bbox'][1] + a['bbox'][3]])),
    det('boxes as parts', False, change=each(bbox=lambda a: [v / 64 for v in a['bbox']])),
    det('boxes of no size', False, change=each(bbox=lambda a: [*a['bbox'][:2], 0, 0])),
    det('rgba png', True, spoil=convert('RGBA')),
    det('grey png', True, spoil=convert('L')),
    det('12-bit png', False, spoil=convert('12')),
    det('12-bit tif', False, spoil=convert('12', 'tif')),
    det('mixed sizes', True, spoil=mixed_sizes),
    det('an image missing', False, spoil=remove('train2017/*3.jpg')),
]  # fmt: skip


# Running a case ---------------------------------------------------------------------------------


@dataclass
class Outcome:
    """The tool that refused the data, or ''; its line; what broke after "ready"."""

    case: str
    good: bool
    refused_by: str = ''
    line: str = ''
    broken: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / 'tools' / f'{name}.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOLS = ('custom_dataset', 'check_dataset', 'train', 'infer')


def run_tool(tool: ModuleType, *arguments: object) -> tuple[int, str]:
    """Return exit code and output of a tool in this process."""
    output = io.StringIO()
    sys.argv = ['tool', *map(str, arguments)]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            with tool.one_line_errors():
                code = tool.main()
        except SystemExit as end:
            code = end.code
        except Exception:
            output.write(traceback.format_exc())
            code = 2
    if isinstance(code, str):
        output.write(code)
        code = 1
    return code or 0, output.getvalue()


def refusal(text: str) -> str:
    """Return the line of an output with an error, else the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith('error')]
    return (errors or lines or [''])[0].strip()


def run_case(case: Case, tools: dict[str, ModuleType], root: Path) -> Outcome:
    """Send a dataset through the tools, until one refuses it."""
    outcome = Outcome(case.name, case.good)
    base = BASES.get(case.base)
    if base is None:
        base = root / 'retina.py'
        base.write_text(RETINA.format(base=str(BASES['mask_rcnn'])))
    arguments = case.data.write(root / 'data')
    config = root / f'{re.sub(r"[^a-z0-9]+", "_", case.name)}_{case.base}.py'
    options = ('--cfg-options', *case.train) if case.train else ()
    code, text = run_tool(
        tools['custom_dataset'], base, config, *arguments, *case.options, *case.length
    )
    written = config.exists()
    if code:
        outcome.refused_by, outcome.line = 'custom_dataset', refusal(text)
        if 'Traceback' in text:
            outcome.broken.append(f'custom_dataset: {text.splitlines()[-1]}')
        if not written:
            return outcome
    code, text = run_tool(
        tools['check_dataset'], config, '--jobs', 1, '--out', root / 'plots', *options
    )
    outcome.notices = [line for line in text.splitlines() if line.startswith('warning')]
    if code:
        if 'Traceback' in text:
            outcome.broken.append(f'check_dataset: {text.splitlines()[-1]}')
        outcome.refused_by = outcome.refused_by or 'check_dataset'
        outcome.line = outcome.line or refusal(text)
        return outcome
    if outcome.refused_by:
        outcome.broken.append('check_dataset: ready, but custom_dataset refused the data')
        return outcome
    code, text = run_tool(tools['train'], config, '--work-dir', root / 'run', *options)
    if code:
        outcome.broken.append(f'train: {refusal(text) if code == 1 else text.splitlines()[-1]}')
        return outcome
    outcome.broken += meaningless(root / 'run')
    checkpoint = max((root / 'run').glob('*_[0-9].pth'))
    images = next(Path(arguments[i + 1]) for i, a in enumerate(arguments) if a == '--val-images')
    code, text = run_tool(
        tools['infer'], config, checkpoint, images, '--out', root / 'found', *options
    )
    files = [*(root / 'found').rglob('*.*')]
    if code or len([file for file in files if file.suffix == '.png']) == 0:
        outcome.broken.append(f'infer: {text.splitlines()[-1] if text else "wrote nothing"}')
    return outcome


def meaningless(work_dir: Path) -> list[str]:
    """Return what is wrong with the numbers of a run."""
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    scores = [row[name] for row in rows for name in ('mIoU', 'coco/bbox_mAP') if name in row]
    wrong = []
    if not losses or not all(math.isfinite(loss) and loss != 0 for loss in losses):
        wrong.append(f'train: losses {losses}')
    if not scores or not all(math.isfinite(score) and score >= 0 for score in scores):
        wrong.append(f'evaluation: scores {scores}')
    return wrong


_loaded: dict[str, ModuleType] = {}


def _in_child(place: int) -> Outcome:
    torch.set_num_threads(1)
    warnings.simplefilter('default')  # as for a user, not pytest's errors
    with tempfile.TemporaryDirectory() as folder:
        return run_case(CASES[place], _loaded, Path(folder))


def campaign(places: Sequence[int] | None = None) -> list[Outcome]:
    """Run cases, each in a fork of this process, which has imported everything."""
    _loaded.update({name: load_tool(name) for name in TOOLS})
    for package in ('mmseg', 'mmdet'):
        importlib.import_module(f'{package}.apis')
    # A process for each case: a run's registries and handlers of signals do not meet the next's.
    with multiprocessing.get_context('fork').Pool(1, maxtasksperchild=1) as pool:
        chosen = range(len(CASES)) if places is None else places
        outcomes = []
        for outcome in pool.imap(_in_child, chosen, chunksize=1):
            outcomes.append(outcome)
            result = f'refused by {outcome.refused_by}' if outcome.refused_by else 'ready, trained'
            doubt = '' if outcome.good is not bool(outcome.refused_by) else ' (UNEXPECTED)'
            print(f'{outcome.case:38} {result}{doubt}: {outcome.line[:150]}', flush=True)
            for line in outcome.broken:
                print(f'{"":38} BROKEN {line[:300]}', flush=True)
    return outcomes


def main() -> None:
    wanted = sys.argv[1:]
    places = [
        n for n, case in enumerate(CASES) if not wanted or any(w in case.name for w in wanted)
    ]
    outcomes = campaign(places)
    broken = sum(bool(one.broken) for one in outcomes)
    ready = sum(not one.refused_by for one in outcomes)
    print(
        f'{len(outcomes)} datasets: {ready} ready, {len(outcomes) - ready} refused, {broken} broken'
    )


if __name__ == '__main__':
    main()
