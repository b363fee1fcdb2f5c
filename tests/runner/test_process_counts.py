"""One, two and four processes: the same evaluation, and the same gradients of the same images.

Four processes do everything: the first ones also form the smaller groups.
"""

import json
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from tests.conftest import CONFIGS
from tests.runner.test_many_processes import TWO as SEVERAL
from tests.toy_run import toy_runner

COUNTS = (1, 2, 4)
TOTAL = 4  # images of a training step
IMAGES = (7, 3)  # of an evaluation: no multiple of 2, and fewer than 4
SIDE = 64
ROUND_UP = (True, False)
DETECTOR = 'mask_rcnn_convnext_atto_samples.py'
EVALUATED = ('upernet_convnext_atto_samples.py', DETECTOR, 'convnext_t_in1k.py')
CASES = tuple(product(EVALUATED, IMAGES, ROUND_UP))
CLASSES = ('circle', 'square', 'triangle', 'ring')  # the detector's


class Predicted(torch.utils.data.Dataset):
    """Images whose predictions are known: random numbers by their index."""

    def __init__(self, length: int, predict: Callable[[int, torch.Generator], Any]) -> None:
        self.metainfo = dict(classes=CLASSES)
        self.length, self.predict = length, predict

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict:
        sample = self.predict(index, torch.Generator().manual_seed(index))
        return dict(inputs=torch.zeros(1), data_samples=sample)


class Echo(BaseModel):
    """Returns the predictions that the data samples have."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)  # to have a gradient

    def forward(self, inputs, data_samples=None, mode: str = 'tensor'):
        return data_samples


def labelled(index: int, random: torch.Generator) -> BaseDataElement:
    maps = torch.randint(len(CLASSES), (2, 8, 8), generator=random)
    sample = BaseDataElement()
    sample.gt_sem_seg, sample.pred_sem_seg = (PixelData(data=one[None]) for one in maps)
    return sample


def classified(index: int, random: torch.Generator) -> BaseDataElement:
    scores = torch.rand(10, generator=random)
    return BaseDataElement(pred_score=scores, gt_label=torch.tensor([index]))


def detected(index: int, random: torch.Generator) -> BaseDataElement:
    """Below the object, by more in each image, and of another class in the last ones."""
    box = torch.tensor([[4.0, 4.0 + index, 24.0, 24.0 + index]])
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    mask[:, 4 + index : 24 + index, 4:24] = True
    found = InstanceData(bboxes=box, labels=torch.tensor([index // 5]), masks=mask)
    found.scores = torch.rand(1, generator=random)
    return BaseDataElement(
        pred_instances=found, metainfo=dict(img_id=index, ori_shape=(SIDE, SIDE))
    )


def annotations(length: int) -> dict:
    return dict(
        images=[dict(id=n, file_name=f'{n}.png', height=SIDE, width=SIDE) for n in range(length)],
        categories=[dict(id=n, name=name) for n, name in enumerate(CLASSES)],
        annotations=[
            dict(
                **dict(id=n + 1, image_id=n, category_id=0, iscrowd=0, bbox=[4, 4, 20, 20]),
                **dict(area=400, segmentation=[[4, 4, 24, 4, 24, 24, 4, 24]]),
            )
            for n in range(length)
        ],
    )


def evaluate(folder: Path, name: str, images: int, round_up: bool) -> str:
    """Return the metrics by a config's data loader and evaluator.

    With ``round_up``, mmengine's default, the first images are repeated, so that all processes have
    as many; without, some have fewer, or none.
    """
    config = Config.fromfile(CONFIGS / name)
    evaluator = dict(config.val_evaluator)
    predict = classified
    if 'ann_file' in evaluator:
        import mmdet.evaluation  # noqa: F401

        predict = detected
        evaluator['ann_file'] = str(folder / f'{images}.json')
        if get_rank() == 0:
            Path(evaluator['ann_file']).write_text(json.dumps(annotations(images)))
    elif 'iou_metrics' in evaluator:
        predict = labelled
    loader = dict(config.val_dataloader, num_workers=0, persistent_workers=False)
    loader['sampler'] = dict(loader['sampler'], round_up=round_up)
    loader['dataset'] = Predicted(images, predict)
    runner = toy_runner(
        folder / f'{name}{images}{round_up}',
        model=Echo(),
        val_dataloader=loader,
        val_evaluator=evaluator,
        **SEVERAL,
    )
    return repr(runner.val())


def segmentor() -> tuple[Config, list]:
    """UperNet with group norm: plain batch norms would have other statistics in each process.

    Ignored pixels, in other numbers in each image, make no difference: the loss is the mean over
    all pixels (``avg_non_ignore=False``).
    """
    from mmseg.structures import SegDataSample

    config = Config.fromfile(CONFIGS / 'upernet_convnext_atto_samples.py')
    config.model.decode_head.update(norm_cfg=dict(type='GN', num_groups=8), dropout_ratio=0.0)
    labels = torch.randint(6, (TOTAL, SIDE, SIDE))
    for number, one in enumerate(labels):
        one[: 8 * number] = 255
    return config, [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in labels]


def classifier() -> tuple[Config, list]:
    config = Config.fromfile(CONFIGS / 'convnext_t_in1k.py')
    config.model.update(num_classes=10, mixing=None)
    config.model.backbone.update(arch='atto', drop_path_rate=0.0, layer_scale_init_value=1.0)
    return config, [BaseDataElement(gt_label=torch.tensor([n])) for n in range(TOTAL)]


def detector() -> tuple[Config, list]:
    """Mask R-CNN, whose losses are means over a process's sampled anchors and regions.

    The gradients are equal where each image has as many of them, and none is sampled at random: all
    images have the same objects, all anchors and regions are taken, and only the objects' own boxes
    are positive regions. float64: in float32, the rounding of an image alone and of the same image
    in a batch differ, and may turn a choice, as of nms.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    config = Config.fromfile(CONFIGS / DETECTOR)
    train = config.model.train_cfg
    train.rpn.sampler.num = train.rcnn.sampler.num = 10**6
    train.rpn_proposal.update(nms_pre=200, max_per_img=30)
    train.rcnn.assigner.update(pos_iou_thr=0.99, neg_iou_thr=0.99, match_low_quality=False)
    boxes = torch.tensor([[4, 4, 24, 24], [20, 30, 60, 50]], dtype=torch.float64)
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    sizes = dict.fromkeys(('img_shape', 'pad_shape', 'batch_input_shape', 'ori_shape'), (SIDE,) * 2)
    samples = []
    for _ in range(TOTAL):
        objects = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]))
        objects.masks = BitmapMasks(masks.numpy(), SIDE, SIDE)
        sample = DetDataSample(metainfo=dict(sizes, scale_factor=(1.0, 1.0)))
        sample.gt_instances, sample.ignored_instances = objects, InstanceData(bboxes=boxes[:0])
        samples.append(sample)
    return config, samples


def gradients(build: Callable[[], tuple[Config, list]]) -> dict[str, Tensor]:
    """Return the gradients of a step with :data:`TOTAL` images, divided among the processes."""
    torch.manual_seed(0)
    config, samples = build()
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model)
    images = torch.randn(TOTAL, 3, SIDE, SIDE)
    if build is detector:
        model, images = model.double(), images.double()
    share = TOTAL // get_world_size()
    mine = slice(get_rank() * share, (get_rank() + 1) * share)
    wrapper = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False)
    loss, _ = model.parse_losses(wrapper(images[mine], samples[mine], mode='loss'))
    loss.backward()
    return {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


TRAINED = (segmentor, classifier, detector)


def _work(rank: int, folder: Path) -> None:
    os.environ |= dict(LOCAL_RANK=str(rank), OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    torch.set_num_threads(1)
    for count in COUNTS:
        if rank >= count:
            continue
        store = torch.distributed.FileStore(str(folder / f'store{count}'), count)
        torch.distributed.init_process_group('gloo', store=store, rank=rank, world_size=count)
        results = {
            **{case: evaluate(folder, *case) for case in CASES},
            **{build.__name__: gradients(build) for build in TRAINED},
        }
        torch.distributed.destroy_process_group()
        if rank == 0:
            torch.save(results, folder / f'{count}.pth')


@pytest.fixture(scope='module')
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    """By the number of processes: metrics by config and images, gradients by model."""
    folder = tmp_path_factory.mktemp('counts')
    torch.multiprocessing.start_processes(
        _work, (folder,), nprocs=max(COUNTS), start_method='forkserver'
    )
    return {count: torch.load(folder / f'{count}.pth') for count in COUNTS}


@pytest.mark.parametrize('case', CASES, ids=str)
def test_each_image_is_evaluated_once(results, case: tuple[str, int, bool]) -> None:
    for count in COUNTS[1:]:
        assert results[count][case] == results[1][case], count


@pytest.mark.parametrize('build', [build.__name__ for build in TRAINED])
def test_gradients_equal_those_of_one_process(results, build: str) -> None:
    alone = results[1][build]
    for count in COUNTS[1:]:
        divided = results[count][build]
        assert divided.keys() == alone.keys()
        errors = {name: float((divided[name] - g).norm() / g.norm()) for name, g in alone.items()}
        worst = max(errors, key=errors.__getitem__)
        print(f'{build}, {count} processes: at most {errors[worst]:.2g}, in {worst}')
        assert all(error < 1e-5 for error in errors.values()), worst  # not if one is NaN
