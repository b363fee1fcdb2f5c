"""Mask R-CNN, ConvNeXt-atto, generated samples: the whole chain on a CPU (`make demo-detection`).

7 epochs of 300 images from scratch; held-out AP50: see benchmarks/demo.md.
"""

_base_ = [
    '_base_/models/mask_rcnn_convnext.py',
    '_base_/datasets/detection_samples.py',
    '_base_/schedules/detection_samples_7e.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(arch='atto', drop_path_rate=0.0),
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=4),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64, num_classes=4),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=100),
        rcnn=dict(sampler=dict(num=48)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)
randomness = dict(seed=0)
