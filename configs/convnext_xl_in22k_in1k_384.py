"""ConvNeXt-XL, ImageNet-22K, then ImageNet-1K at 384², 30 epochs of fine-tuning.

Published: top-1 87.8; 350M parameters, 179.0G FLOPs at 384² (arXiv 2201.03545, tables 1 and 6;
facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_224.pth
Published model: https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_1k_384_ema.pth
8 GPUs × 8 images × 8 iterations = 512, float32:
    tools/dist_train.sh configs/convnext_xl_in22k_in1k_384.py 8
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/imagenet_384.py',
    '_base_/schedules/imagenet_30e.py',
    '_base_/classification_runtime_ema.py',
]
model = dict(
    backbone=dict(
        arch='xlarge',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_xlarge_22k_224.pth',
        ),
    ),
    head_init_scale=0.001,
    mixing=None,
)
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(accumulative_counts=8)
custom_hooks = [
    dict(type='mmconvnext.LayerLearningRatesHook'),
    dict(type='EMAHook', momentum=1e-4, interval=8),
]
auto_scale_lr = dict(base_batch_size=64)  # of an iteration: 8 GPUs × 8 images
