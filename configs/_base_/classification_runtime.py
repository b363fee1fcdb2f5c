"""The default runtime by epochs, with mmengine's scope; it keeps the best top-1 checkpoint."""

_base_ = './default_runtime.py'
default_scope = 'mmengine'
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=3, save_best='top1', rule='greater'),
)
