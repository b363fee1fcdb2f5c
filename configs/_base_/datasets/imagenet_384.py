"""ImageNet-1K at 384²; test images are resized to 384² without a crop.

Source: facebookresearch/ConvNeXt @048efce, datasets.py ("warping"). The rest as for 224².
"""

_base_ = './imagenet.py'
train_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),  # like Pillow
    dict(type='mmconvnext.RandomResizedCrop', size=384),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmconvnext.TimmRandAugment', config='rand-m9-mstd0.5-inc1'),
    dict(type='mmconvnext.TimmRandomErasing', prob=0.25),
    dict(type='mmconvnext.PackImage'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),  # like Pillow
    dict(type='mmconvnext.EvaluationCrop', size=384),
    dict(type='mmconvnext.PackImage'),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=64, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
