"""Cascade Mask R-CNN, ConvNeXt-L (ImageNet-22K), COCO, 36 epochs.

Published: box AP 54.8, mask AP 47.6; 255M parameters, 1354G FLOPs at 1280×800
(arXiv 2201.03545, table 3; facebookresearch/ConvNeXt @048efce). Not reproduced here.
Starts from https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth
Published model:
    https://dl.fbaipublicfiles.com/convnext/coco/cascade_mask_rcnn_convnext_large_22k_3x.pth
8 GPUs × 2 images = 16, float32:
    tools/dist_train.sh configs/cascade_mask_rcnn_convnext_l_in22k_coco.py 8
"""

_base_ = [
    '_base_/models/cascade_mask_rcnn_convnext.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/detection_36e.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.7,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth',
        ),
    ),
)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=1e-4))
