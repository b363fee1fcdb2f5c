"""COCO 2017 instances with large-scale jittering: 1024² crops at 0.1 to 2 times that size.

Source: Ghiasi et al., Simple Copy-Paste (arXiv 2012.07177), section 3; mmdet 3.3.0,
projects/ConvNeXt-V2.
"""

_base_ = './coco_instance.py'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(1024, 1024), ratio_range=(0.1, 2.0), keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_type='absolute_range',
        crop_size=(1024, 1024),
        recompute_bbox=True,
        allow_negative_crop=True,
    ),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(
    batch_size=4,  # 8 GPUs × 4 images = 32
    num_workers=8,
    dataset=dict(pipeline=train_pipeline),
)
