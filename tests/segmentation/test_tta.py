import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

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


def batch(views: list[tuple[torch.Tensor, bool]]) -> dict:
    from mmseg.structures import SegDataSample

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
