"""30 epochs of fine-tuning from ImageNet-22K to 1K: 8 GPUs × 16 images × 4 iterations = 512.

Cosine from 5e-5 to 1e-6 without warm-up, layer decay .8 over 12 layers. Source: arXiv 2201.03545,
table 6; facebookresearch/ConvNeXt, TRAINING.md @f8a0e97, optim_factory.py @048efce.
"""

_base_ = './imagenet_300e.py'
max_epochs = 30
optim_wrapper = dict(
    optimizer=dict(lr=5e-5, weight_decay=1e-8),
    paramwise_cfg=dict(decay_rate=0.8),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs,
        eta_min_ratio=1e-6 / 5e-5,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=128)  # of an iteration: 8 GPUs × 16 images
