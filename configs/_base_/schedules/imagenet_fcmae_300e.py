"""300 epochs of ConvNeXt V2-T after FCMAE: 8 GPUs × 32 images × 4 iterations = 1024.

Learning rate 8e-4 × 1024 / 256 = 3.2e-3, 40 epochs of warm-up, cosine to 1e-6, layer decay .9
block by block, so that the stem's learning rate is × .9^18 = .15. Source:
facebookresearch/ConvNeXt-V2 @d7cc26f, TRAINING.md ("single").
"""

_base_ = './imagenet_fcmae_100e.py'
max_epochs = 300
warmup_epochs = 40
optim_wrapper = dict(
    optimizer=dict(lr=3.2e-3), paramwise_cfg=dict(decay_rate=0.9, decay_type='block_wise')
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-9,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs - warmup_epochs,
        eta_min_ratio=1e-6 / 3.2e-3,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
