import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder as PlainEncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmconvnext.errors import ArgumentError
from mmconvnext.segmentation import EncoderDecoder, label_map
from mmconvnext.segmentation.segmentor import _slide

WHOLE = dict(mode='whole')
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(21, 21))


def build(test_cfg: dict | None = None, classes: int = 5, **options: object) -> EncoderDecoder:
    """In float64, so that rounding decides no label."""
    head = dict(
        type='mmconvnext.FCNHead',
        in_channels=8,
        in_index=1,
        channels=4,
        num_classes=max(classes, 2),
        out_channels=classes,
        threshold=0.47 if classes == 1 else None,
        num_convs=1,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=classes == 1),
        align_corners=options.pop('align_corners', False),
    )
    config = dict(
        type='mmconvnext.EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(
            type='mmconvnext.ConvNeXt', arch=dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8))
        ),
        decode_head=head,
        test_cfg=WHOLE if test_cfg is None else test_cfg,
        **options,
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(ConfigDict(config)).eval().double()
    for parameter in model.decode_head.parameters():  # so that the labels differ
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def pictures(
    size: tuple[int, int], number: int = 1, ori_shape: tuple[int, int] | None = None, **meta: object
) -> tuple[Tensor, list[SegDataSample]]:
    inputs = torch.randn(number, 3, *size, dtype=torch.float64)
    meta = dict(ori_shape=ori_shape or size, img_shape=size, pad_shape=size) | meta
    return inputs, [SegDataSample(metainfo=dict(meta)) for _ in range(number)]


def assert_same(model: EncoderDecoder, inputs: Tensor, samples: list[SegDataSample]) -> None:
    metas = [copy.deepcopy(sample.metainfo) for sample in samples]
    with torch.no_grad():
        expected = PlainEncoderDecoder.predict(_plain(model), inputs, copy.deepcopy(samples))
        result = model.predict(inputs, samples)
    for mine, theirs, meta in zip(result, expected, metas, strict=True):
        assert mine.metainfo == meta
        assert 'seg_logits' not in mine
        assert mine.pred_sem_seg.data.dtype == theirs.pred_sem_seg.data.dtype
        assert torch.equal(mine.pred_sem_seg.data, theirs.pred_sem_seg.data)


def _plain(model: EncoderDecoder) -> EncoderDecoder:
    plain = copy.deepcopy(model)
    plain.fast = False
    return plain


sides = st.integers(33, 90)


@given(sides, sides, st.integers(5, 120), st.integers(5, 120), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=20)
@pytest.mark.filterwarnings('ignore:When align_corners=True')
def test_predictions_match_mmseg(
    height: int, width: int, to_height: int, to_width: int, slide: bool, align_corners: bool
) -> None:
    model = build(SLIDE if slide else WHOLE, align_corners=align_corners)
    assert_same(model, *pictures((height, width), 2, (to_height, to_width)))


@pytest.mark.parametrize(
    'test_cfg', [WHOLE, SLIDE, dict(SLIDE, stride=(10, 32)), dict(SLIDE, crop_size=(99, 32))]
)
@pytest.mark.parametrize('classes', [1, 2, 5])
@pytest.mark.parametrize(
    'meta',
    [
        dict(),
        dict(flip=True, flip_direction='horizontal'),
        dict(flip=True, flip_direction='vertical'),
        dict(padding_size=[0, 5, 0, 9]),
        dict(img_padding_size=(1, 5, 2, 9), padding_size=[0] * 4, flip=True)
        | dict(flip_direction='vertical'),
        dict(flip=False, flip_direction='horizontal', pad_shape=(80, 70, 3)),
    ],
)
@pytest.mark.filterwarnings('ignore:For binary segmentation')
def test_flips_and_padding_match_mmseg(test_cfg: dict, classes: int, meta: dict) -> None:
    inputs, samples = pictures((80, 70), 2, (71, 66), **meta)
    assert_same(build(test_cfg, classes), inputs, samples)
    assert len(samples[0].pred_sem_seg.data.unique()) > 1, 'or else the test could not fail'


def test_pictures_of_a_batch_have_their_own_ways_back() -> None:
    inputs, samples = pictures((70, 64), 3)
    samples[1].set_metainfo(dict(ori_shape=(40, 90)))
    samples[2].set_metainfo(dict(flip=True, flip_direction='vertical', padding_size=[0, 3, 0, 2]))
    for test_cfg in (WHOLE, SLIDE):
        assert_same(build(test_cfg), inputs, samples)


@pytest.mark.parametrize('tile', [(1, 1), (7, 200), (200, 5)])
def test_tiles_of_any_size(monkeypatch, tile: tuple[int, int]) -> None:
    monkeypatch.setattr(label_map, '_tile_size', lambda like: tile)
    assert_same(build(SLIDE), *pictures((70, 64), 1, (60, 50)))


def test_whole_logits_are_made_where_asked_for() -> None:
    inputs, samples = pictures((70, 64), 2, (60, 50))
    model = build(dict(SLIDE, seg_logits=True))
    with torch.no_grad():
        expected = _plain(model).predict(inputs, copy.deepcopy(samples))
        for mine, theirs in zip(model.predict(inputs, samples), expected):
            # Windows added in place: the same sums in the same order.
            assert torch.equal(mine.seg_logits.data, theirs.seg_logits.data)
            assert torch.equal(mine.pred_sem_seg.data, theirs.pred_sem_seg.data)
        for mine in build(SLIDE).predict(inputs):
            assert mine.seg_logits.shape == (70, 64)
    metas = [sample.metainfo for sample in samples]
    shape = metas[0]['img_shape']
    with torch.no_grad():
        model.slide_inference(inputs, metas)
    assert metas[0]['img_shape'] is shape


@pytest.mark.parametrize('name', ['encode_decode', 'whole_inference', 'postprocess_result'])
def test_a_segmentor_with_its_own_steps_keeps_them(name: str) -> None:
    model = build()
    called = []

    def step(self, *args, **kwargs):
        called.append(name)
        return getattr(EncoderDecoder, name)(self, *args, **kwargs)

    model.__class__ = type('Own', (EncoderDecoder,), {name: step})
    with torch.no_grad():
        model.predict(*pictures((64, 64)))
    assert called == [name]


def test_a_head_with_its_own_predict_keeps_it() -> None:
    model = build()
    assert model.decides_in_tiles()

    class Head(type(model.decode_head)):
        def predict_by_feat(self, seg_logits, batch_img_metas):
            return -super().predict_by_feat(seg_logits, batch_img_metas)

    model.decode_head.__class__ = Head
    assert not model.decides_in_tiles()
    inputs, samples = pictures((64, 64))
    assert 'seg_logits' in model.predict(inputs, samples)[0]


def test_no_row_of_windows_is_kept_longer_than_needed(monkeypatch) -> None:
    """A row of the image is in two rows of windows at most, of twelve."""
    most = 0
    add = label_map.View.add

    def watched(self, number, strip):
        nonlocal most
        add(self, number, strip)
        most = max(most, len(self._strips))

    monkeypatch.setattr(label_map.View, 'add', watched)
    monkeypatch.setattr(label_map, '_tile_size', lambda like: (4, 64))
    for meta in (dict(), dict(flip=True, flip_direction='vertical')):
        most = 0
        inputs, samples = pictures((263, 40), **meta)
        build(SLIDE).predict(inputs, samples)
        assert most == 2


def test_labels_have_no_gradient_and_float32_under_autocast() -> None:
    model = build(SLIDE).float()
    inputs, samples = pictures((70, 64))
    with torch.autocast('cpu', torch.bfloat16):
        (result,) = model.predict(inputs.float(), samples)
    assert result.pred_sem_seg.data.dtype == torch.int64


def test_losses_and_tensors_are_mmsegs() -> None:
    model = build()
    inputs, _ = pictures((64, 64))
    assert EncoderDecoder.loss is PlainEncoderDecoder.loss
    assert torch.equal(
        model(inputs, mode='tensor'), PlainEncoderDecoder.forward(model, inputs, mode='tensor')
    )


def test_not_fast_is_mmsegs_own_way_in_every_part() -> None:
    head = dict(
        type='mmconvnext.FCNHead', in_channels=8, in_index=1, channels=4, num_classes=5, num_convs=1
    )
    given_heads = [ConfigDict(head), ConfigDict(head, type='FCNHead')]
    model = build(fast=False, auxiliary_head=given_heads)
    assert not model.fast
    assert not model.decode_head.fast
    assert not model.backbone.fast
    assert not model.auxiliary_head[0].fast
    assert not hasattr(model.auxiliary_head[1], 'fast')
    assert 'fast' not in given_heads[0]
    inputs, samples = pictures((64, 64))
    assert 'seg_logits' in model.predict(inputs, samples)[0]
    assert build().decode_head.fast


@pytest.mark.parametrize(
    'test_cfg',
    [
        dict(mode='slide'),
        dict(mode='slide', crop_size=(32, 32)),
        dict(mode='slide', crop_size=32, stride=(21, 21)),
        dict(mode='slide', crop_size=(32, 32), stride=(21, 33)),
        dict(mode='slide', crop_size=(32, 32), stride=(0, 21)),
        dict(mode='sliding'),
    ],
)
def test_names_what_is_wrong_with_test_cfg(test_cfg: dict) -> None:
    with pytest.raises(ArgumentError, match='test_cfg: expected'):
        build(test_cfg)
    model = build()
    model.test_cfg = ConfigDict(test_cfg)
    with pytest.raises(ArgumentError, match='test_cfg: expected'):
        model.predict(*pictures((64, 64)))
    model.test_cfg = None
    with pytest.raises(ArgumentError, match='test_cfg: expected'):
        model.predict(*pictures((64, 64)))


def test_names_a_flip_that_is_none() -> None:
    with pytest.raises(ArgumentError, match=r"flip_direction: .*got 'diagonal'"):
        build().predict(*pictures((64, 64), flip=True, flip_direction='diagonal'))


@given(st.integers(1, 80), st.integers(1, 40), st.integers(1, 40))
@settings(deadline=None)
def test_windows_cover_all(length: int, size: int, stride: int) -> None:
    windows = _slide(length, size, min(stride, size))
    covered = {start + i for start in windows.starts for i in range(windows.size)}
    assert covered == set(range(length))


@pytest.mark.filterwarnings('ignore:.*should not be instantiated:DeprecationWarning')  # dynamo's
@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE])
def test_graph_breaks(test_cfg: dict) -> None:
    """None in training; `predict` is left to torch, but for the model in it."""
    model = build(test_cfg).float()
    inputs, samples = pictures((64, 64), 2)
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, 64, 64)))
    torch._dynamo.reset()
    explained = torch._dynamo.explain(model.train())(inputs.float(), samples, mode='loss')
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)
    torch._dynamo.reset()
    with torch.no_grad():
        explained = torch._dynamo.explain(model.eval())(inputs.float(), samples, mode='predict')
    windows = 1 if test_cfg is WHOLE else 9
    assert explained.graph_count <= 2 + windows, 'those of `predict`, and the model on each window'
    torch._dynamo.reset()
