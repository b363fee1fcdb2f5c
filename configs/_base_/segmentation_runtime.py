"""The default runtime with mmseg's scope and images of the predictions."""

_base_ = './default_runtime.py'
default_scope = 'mmseg'
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
)
default_hooks = dict(visualization=dict(type='mmconvnext.SegmentationPictureHook'))
