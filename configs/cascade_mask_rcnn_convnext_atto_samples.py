"""Cascade Mask R-CNN, ConvNeXt-atto, generated samples: the whole chain on a CPU.

7 epochs of 300 images from scratch; held-out AP50: see benchmarks/demo.md.
"""

_base_ = [
    '_base_/models/cascade_mask_rcnn_convnext.py',
    '_base_/datasets/detection_samples.py',
    '_base_/schedules/detection_samples_7e.py',
    '_base_/detection_runtime.py',
]
sizes = dict(in_channels=64, conv_out_channels=64, num_classes=4)
box_sizes = dict(sizes, fc_out_channels=256, num_shared_convs=1, norm_cfg=dict(type='BN'))
sampler = dict(type='RandomSampler', num=48, pos_fraction=0.25, add_gt_as_proposals=True)
model = dict(
    backbone=dict(arch='atto', drop_path_rate=0.0),
    neck=dict(out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=[{**head, **box_sizes} for head in _base_.model.roi_head.bbox_head],
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(num_convs=2, **sizes),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=500, max_per_img=100),
        rcnn=[{**stage, 'sampler': sampler} for stage in _base_.model.train_cfg.rcnn],
    ),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=100)),
)
randomness = dict(seed=0)
