"""The classification runtime with averaged weights (EMA, .9999 per step), which are evaluated.

Source: facebookresearch/ConvNeXt @048efce, main.py (--model_ema). `interval` is the number of
iterations that accumulate to a step, so that the average moves once a step.
"""

_base_ = './classification_runtime.py'
custom_hooks = [
    dict(type='mmconvnext.LayerLearningRatesHook'),
    dict(type='EMAHook', momentum=1e-4, interval=4),
]
