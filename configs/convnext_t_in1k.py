"""ConvNeXt-T, ImageNet-1K, 224², 300 epochs from scratch.

Published: top-1 82.1; 29M parameters, 4.5G FLOPs at 224² (arXiv 2201.03545, tables 1 and 5;
facebookresearch/ConvNeXt @048efce). Not reproduced here.
Published model: https://dl.fbaipublicfiles.com/convnext/convnext_tiny_1k_224_ema.pth
8 GPUs × 128 images × 4 iterations = 4096, float32:
    tools/dist_train.sh configs/convnext_t_in1k.py 8
"""

_base_ = [
    '_base_/models/convnext_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/imagenet_300e.py',
    '_base_/classification_runtime_ema.py',
]
