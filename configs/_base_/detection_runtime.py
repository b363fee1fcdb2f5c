"""The default runtime by epochs, with mmdet's scope and images of the predictions."""

_base_ = './default_runtime.py'
default_scope = 'mmdet'
visualizer = dict(
    type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=3),
    visualization=dict(type='mmconvnext.DetectionPictureHook'),
)
env_cfg = dict(cudnn_benchmark=False)  # the images differ in size
