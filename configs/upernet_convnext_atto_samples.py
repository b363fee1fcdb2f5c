"""UperNet, ConvNeXt-atto, generated samples: the whole chain on a CPU, in minutes (`make demo`).

800 iterations of 8 images from scratch; held-out mIoU: see benchmarks/demo.md.
"""

_base_ = [
    '_base_/models/upernet_convnext.py',
    '_base_/datasets/segmentation_samples.py',
    '_base_/schedules/upernet_160k.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(arch='atto', drop_path_rate=0.0),
    decode_head=dict(channels=64, num_classes=6, norm_cfg=dict(type='BN')),
    auxiliary_head=None,
    test_cfg=dict(_delete_=True, mode='whole'),
)
max_iters = 800
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=5.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40 + 1),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
auto_scale_lr = dict(base_batch_size=8)
train_cfg = dict(max_iters=max_iters, val_interval=400)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=400, max_keep_ckpts=2))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
