"""160,000 iterations of 8 GPUs × 2 images = 16, AdamW, layer decay, linear warm-up, then to 0.

At iteration t the learning rate is the base one × (1 − t / 160000), and during the warm-up
(t < 1500) also × (1e-6 + (1 − 1e-6) · t / 1500): facebookresearch/ConvNeXt @048efce,
semantic_segmentation/configs/convnext/. mmengine's schedulers reach their end one step early,
so each `end` is 1 larger.
"""

max_iters = 160000
warmup_iters = 1500
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_rate=0.9, decay_type='stage_wise'),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters + 1),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=0, end=max_iters + 1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=16)  # 8 GPUs × 2 images
