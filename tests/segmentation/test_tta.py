import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.models.segmentors import SegTTAModel
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmconvnext.errors import UserError
from mmconvnext.segmentation import WholePictureTTAModel

MODEL = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(type='SegDataPreProcessor'),
    backbone=dict(
        type='mmconvnext.ConvNeXt', arch=dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
    ),
    decode_head=dict(
        type='FCNHead', in_channels=8, in_index=3, channels=4, num_classes=3, num_convs=1
    ),
    test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(21, 21)),
)


def test_averages_whole_picture_probabilities_over_scales_and_flips() -> None:
    with DefaultScope.overwrite_default_scope('mmseg'):
        tta = MODELS.build(
            ConfigDict(type='mmconvnext.WholePictureTTAModel', module=ConfigDict(MODEL))
        ).eval()
    assert tta.module.test_cfg.mode == 'whole'
    views, expected = [], torch.zeros(3, 64, 80)
    picture = torch.randint(0, 255, (3, 64, 80), dtype=torch.float32)
    for size in ((64, 80), (48, 60)):
        for flip in (False, True):
            view = torch.nn.functional.interpolate(picture[None], size)[0]
            view = view.flip(-1) if flip else view
            views.append((view, flip))
            logits = tta.module.decode_head(tta.module.backbone(view[None]))
            # mmseg resizes twice: to the size of the input, and of the original.
            logits = torch.nn.functional.interpolate(logits, size, mode='bilinear')
            logits = logits.flip(-1) if flip else logits
            logits = torch.nn.functional.interpolate(logits, (64, 80), mode='bilinear')
            expected += logits[0].softmax(0)
    result = tta.test_step(batch(views))[0]
    assert torch.equal(result.pred_sem_seg.data[0], expected.argmax(0))


def test_mmsegs_own_model_names_the_option_it_needs() -> None:
    module = {**MODEL, 'type': 'mmconvnext.EncoderDecoder'}
    config = ConfigDict(type='mmseg.SegTTAModel', module=module)
    views = [(torch.zeros(3, 64, 80), False), (torch.zeros(3, 64, 80), True)]
    with DefaultScope.overwrite_default_scope('mmseg'):
        with pytest.raises(UserError, match=r'set test_cfg\.seg_logits=True'):
            MODELS.build(config).eval().test_step(batch(views))
        config.module.test_cfg.seg_logits = True
        result = MODELS.build(config).eval().test_step(batch(views))[0]
    assert result.pred_sem_seg.shape == (64, 80)


def batch(views: list[tuple[torch.Tensor, bool]]) -> dict:
    samples = [
        SegDataSample(
            metainfo=dict(
                ori_shape=(64, 80),
                img_shape=tuple(view.shape[1:]),
                pad_shape=tuple(view.shape[1:]),
                flip=flip,
                flip_direction='horizontal',
                img_path='a.jpg',
            )
        )
        for view, flip in views
    ]
    return {'inputs': [[view] for view, _ in views], 'data_samples': [[s] for s in samples]}


def build(classes: int, fast: bool = True) -> WholePictureTTAModel:
    """In float64, so that rounding decides no label."""
    module = copy.deepcopy(MODEL) | dict(type='mmconvnext.EncoderDecoder', fast=fast)
    module['decode_head'].update(
        in_index=0,
        out_channels=classes,
        num_classes=max(classes, 2),
        threshold=0.6 if classes == 1 else None,  # of a sigmoid's sigmoid
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=classes == 1),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        tta = MODELS.build(
            ConfigDict(type='mmconvnext.WholePictureTTAModel', module=ConfigDict(module))
        )
    for parameter in tta.module.decode_head.parameters():
        torch.nn.init.normal_(parameter)
    torch.nn.init.zeros_(tta.module.decode_head.conv_seg.bias)
    # The preprocessor makes float32 of what it is given.
    tta.module.data_preprocessor.forward = lambda data, _: {
        'inputs': torch.stack(data['inputs']).double(),
        'data_samples': data['data_samples'],
    }
    return tta.eval().double()


def two_pictures() -> dict:
    """Of two sizes and two flips, and a ground truth that only the first view has."""
    pictures = torch.randn(2, 3, 64, 80)
    inputs, samples = [], []
    for size in ((64, 80), (48, 60), (80, 100)):
        for direction in (None, 'horizontal', 'vertical'):
            dims = {None: (), 'horizontal': (-1,), 'vertical': (-2,)}[direction]
            inputs.append(list(torch.nn.functional.interpolate(pictures, size).flip(dims).unbind()))
            meta = dict(ori_shape=(64, 80), img_shape=size, pad_shape=size)
            meta.update(flip=direction is not None, flip_direction=direction)
            samples.append(
                [SegDataSample(metainfo=dict(meta, img_path=f'{i}.jpg')) for i in range(2)]
            )
    for sample in samples[0]:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 2, (1, 64, 80)))
    return {'inputs': inputs, 'data_samples': samples}


@pytest.mark.parametrize('classes', [1, 2, 7])
@pytest.mark.filterwarnings('ignore:For binary segmentation')
def test_adds_probabilities_in_tiles_as_mmseg_adds_maps(monkeypatch, classes: int) -> None:
    data = two_pictures()
    monkeypatch.setattr(SegTTAModel, 'merge_preds', _counted(SegTTAModel.merge_preds))
    with torch.no_grad():
        expected = build(classes, fast=False).test_step(copy.deepcopy(data))
        assert SegTTAModel.merge_preds.calls == 1
        result = build(classes).test_step(data)
        assert SegTTAModel.merge_preds.calls == 1
    for mine, theirs in zip(result, expected, strict=True):
        assert torch.equal(mine.pred_sem_seg.data, theirs.pred_sem_seg.data)
        assert mine.pred_sem_seg.data.dtype == theirs.pred_sem_seg.data.dtype
        assert len(mine.pred_sem_seg.data.unique()) > 1
        assert torch.equal(mine.gt_sem_seg.data, theirs.gt_sem_seg.data)
        assert mine.metainfo == theirs.metainfo
        assert 'seg_logits' not in mine


def _counted(function):
    def counted(*args):
        counted.calls += 1
        return function(*args)

    counted.calls = 0
    return counted


def test_nothing_but_low_logits_is_held(monkeypatch) -> None:
    monkeypatch.setattr(
        torch.nn.functional, 'interpolate', lambda *args, **options: pytest.fail('resized whole')
    )
    data = {name: views[:1] for name, views in batch([(torch.rand(3, 64, 80), False)]).items()}
    assert build(7).test_step(data)[0].pred_sem_seg.data.shape == (1, 64, 80)
