"""ConvNeXt-L, ImageNet-1K, 224², 300 epochs from scratch.

Published: top-1 84.3; 198M parameters, 34.4G FLOPs at 224² (arXiv 2201.03545, tables 1 and 5;
facebookresearch/ConvNeXt @048efce). Not reproduced here.
Published model: https://dl.fbaipublicfiles.com/convnext/convnext_large_1k_224_ema.pth
8 GPUs × 64 images × 8 iterations = 4096, float32:
    tools/dist_train.sh configs/convnext_l_in1k.py 8
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/imagenet_300e.py',
    '_base_/classification_runtime_ema.py',
]
model = dict(backbone=dict(arch='large', drop_path_rate=0.5))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(accumulative_counts=8)
custom_hooks = [
    dict(type='mmconvnext.LayerLearningRatesHook'),
    dict(type='EMAHook', momentum=1e-4, interval=8),
]
auto_scale_lr = dict(base_batch_size=512)  # of an iteration: 8 GPUs × 64 images
