"""Logging, checkpoints and the environment of every run."""

custom_imports = dict(imports=['mmconvnext'], allow_failed_imports=False)
# For the tools of mmdet and mmseg; those here take it for every config.
runner_type = 'mmconvnext.Runner'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=16000),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
custom_hooks = [dict(type='mmconvnext.LayerLearningRatesHook')]
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_level = 'INFO'
load_from = None
resume = False
