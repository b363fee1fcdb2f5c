"""36 epochs of 8 GPUs × 2 images = 16, AdamW, layer decay, × 0.1 after 27 and 33 epochs.

During the first 500 iterations the learning rate is × (0.001 + 0.999 · t / 500):
facebookresearch/ConvNeXt @048efce, object_detection/configs/. mmengine's schedulers reach their
end one step early, so `end` is 1 larger.
"""

max_epochs = 36
warmup_iters = 500
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='mmconvnext.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise'),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warmup_iters + 1),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        milestones=[27, 33],
        gamma=0.1,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
log_processor = dict(by_epoch=True)
auto_scale_lr = dict(enable=False, base_batch_size=16)  # 8 GPUs × 2 images
