"""UperNet, ConvNeXt-B (ImageNet-22K), ADE20K, 640² crops, 160k iterations.

Published: mIoU 52.6 single-scale, 53.1 multi-scale + flip; 122M parameters, 1828G FLOPs at
2560×640 (arXiv 2201.03545, table 4; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth
Published model: https://dl.fbaipublicfiles.com/convnext/ade20k/upernet_convnext_base_22k_640x640.pth
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/upernet_convnext_b_in22k_ade20k_640.py 8
"""

_base_ = [
    '_base_/models/upernet_convnext.py',
    '_base_/datasets/ade20k_640.py',
    '_base_/schedules/upernet_160k.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        arch='base',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth',
        ),
    ),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
