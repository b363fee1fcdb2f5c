"""300 epochs of ImageNet-1K, 8 GPUs × 128 images × 4 iterations = 4096 a step, AdamW, cosine.

Iteration t of T, of which W warm up (20 epochs): the learning rate is 4e-3 × t / (W − 1) for t < W,
then 1e-6 + (4e-3 − 1e-6) × (1 + cos(π (t − W) / (T − W))) / 2. Biases and parameters of one
dimension have no weight decay. Source: arXiv 2201.03545, table 5; facebookresearch/ConvNeXt,
main.py and utils.py @048efce, TRAINING.md @f8a0e97. There t counts steps of 4096 images; here it
counts iterations, four per step, so the rate is at most three iterations ahead.
"""

max_epochs = 300
warmup_epochs = 20
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), weight_decay=0.05),
    accumulative_counts=4,
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    # All layers have the same rate; the constructor is used for parameters without weight decay.
    paramwise_cfg=dict(decay_rate=1.0, decay_type='layer_wise'),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-9,  # officially 0, from which mmengine's factor could not grow
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs - warmup_epochs,
        eta_min_ratio=1e-6 / 4e-3,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=True)
# Per iteration: 8 GPUs × 128 images. --auto-scale-lr ignores accumulation.
auto_scale_lr = dict(enable=False, base_batch_size=1024)
