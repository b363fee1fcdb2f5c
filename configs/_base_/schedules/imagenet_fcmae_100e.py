"""100 epochs of ConvNeXt V2 after FCMAE, B and larger: 8 GPUs × 32 images × 4 iterations = 1024.

Learning rate 6.25e-4 × 1024 / 256 = 2.5e-3, 20 epochs of warm-up, cosine to 1e-6, layer decay .6
over 12 layers. Source: facebookresearch/ConvNeXt-V2, TRAINING.md, main_finetune.py and utils.py
@d7cc26f, optim_factory.py @2553895. Its warm-up is t / W, ours V1's t / (W − 1): 4e-5 apart.
"""

_base_ = './imagenet_300e.py'
max_epochs = 100
warmup_epochs = 20
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(lr=2.5e-3),
    paramwise_cfg=dict(decay_rate=0.6),
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
        eta_min_ratio=1e-6 / 2.5e-3,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=256)  # of an iteration: 8 GPUs × 32 images
