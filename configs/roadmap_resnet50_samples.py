"""A step from ResNet-50 to ConvNeXt-T, on generated samples: minutes on a CPU.

3 epochs of 2000 images from scratch, at any step: `--cfg-options model.backbone.step=depthwise`.
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/classification_samples.py',
    '_base_/classification_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmconvnext.RoadmapNet',
        step='separate_downsampling',
        regime='resnet50',
        out_indices=(3,),
        layer_scale_init_value=1.0,
    ),
    num_classes=5,
    mixing=None,
)
max_epochs = 3
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=25),
    dict(type='CosineAnnealingLR', by_epoch=True, T_max=max_epochs, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
# A checkpoint with what resuming needs is of 330 MB.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
