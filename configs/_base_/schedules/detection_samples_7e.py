"""Seven epochs of 300 generated images in batches of 4, 525 iterations, from scratch."""

_base_ = './detection_36e.py'
max_epochs = 7
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(decay_rate=0.95),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50 + 1),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=525 + 1),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
auto_scale_lr = dict(base_batch_size=4)
