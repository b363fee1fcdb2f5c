"""36 epochs of 8 GPUs × 4 images = 32 with ConvNeXt V2's learning rate; warm-up as in mmdet.

Source: arXiv 2301.00808, appendix; what it leaves open: mmdet 3.3.0, projects/ConvNeXt-V2.
"""

_base_ = './detection_36e.py'
warmup_iters = 1000
optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(decay_rate=0.95))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warmup_iters + 1),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=36,
        milestones=[27, 33],
        gamma=0.1,
    ),
]
auto_scale_lr = dict(base_batch_size=32)
