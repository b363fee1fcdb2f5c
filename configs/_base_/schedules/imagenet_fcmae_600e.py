"""600 epochs of a small ConvNeXt V2 after FCMAE: 8 GPUs × 32 images × 4 iterations = 1024.

Learning rate 2e-4 × 1024 / 256 = 8e-4, cosine to 1e-6 without warm-up, weight decay .3, layer decay
.9 block by block, so that the learning rate of atto's stem is × .9^12 = .28. Source:
facebookresearch/ConvNeXt-V2 @d7cc26f, TRAINING.md ("single"), for atto.
"""

_base_ = './imagenet_fcmae_100e.py'
max_epochs = 600
optim_wrapper = dict(
    optimizer=dict(lr=8e-4, weight_decay=0.3),
    paramwise_cfg=dict(decay_rate=0.9, decay_type='block_wise'),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min_ratio=1e-6 / 8e-4,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
