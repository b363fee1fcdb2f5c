"""ImageNet-1K at 224²: 1,281,167 images to train on, 50,000 to validate, 1,000 folders.

Training: a crop of 8 to 100 % of the area, flip, RandAugment(9, .5), a rectangle erased in one of
four images; test: short side to 256, central crop. Source: facebookresearch/ConvNeXt @048efce,
main.py and datasets.py. RandAugment and erasing need timm; without timm remove them from the
pipeline, and `mixing` from the model.
"""

data_root = 'data/imagenet'
# Printed if the data are missing.
data_hint = 'expected ImageNet unpacked, {train,val}/CLASS/*.JPEG: see docs/classification.md'
train_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),  # like Pillow
    dict(type='mmconvnext.RandomResizedCrop', size=224),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmconvnext.TimmRandAugment', config='rand-m9-mstd0.5-inc1'),
    dict(type='mmconvnext.TimmRandomErasing', prob=0.25),
    dict(type='mmconvnext.PackImage'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),  # like Pillow
    dict(type='mmconvnext.EvaluationCrop', size=224),
    dict(type='mmconvnext.PackImage'),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmconvnext.ImageFolder',
        data_root=data_root,
        data_prefix=dict(img_path='train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='mmconvnext.ImageFolder',
        data_root=data_root,
        data_prefix=dict(img_path='val'),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='mmconvnext.TopKAccuracy', topk=(1, 5))
test_evaluator = val_evaluator
