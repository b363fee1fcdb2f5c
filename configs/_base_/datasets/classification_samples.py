"""The generated samples of mmconvnext/data/classification_samples.py, as ImageNet; 48 px a side."""

data_root = 'data/samples/classification'
data_hint = (
    'write it with: python tools/make_samples.py data/samples/classification --kind classification'
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(48, 48)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='mmconvnext.PackImage'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(48, 48)),
    dict(type='mmconvnext.PackImage'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='mmconvnext.ImageFolder',
        data_root=data_root,
        data_prefix=dict(img_path='train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
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
