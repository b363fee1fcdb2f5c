"""Mask R-CNN on a step of the way from ResNet-50 to ConvNeXt-T, COCO, 36 epochs.

Any step, or the way to ConvNeXt-B: `--cfg-options model.backbone.step=depthwise`,
`model.backbone.regime=resnet200`; the neck follows. Nobody published results or weights of these
models: train the backbone first, with configs/roadmap_resnet50_in1k.py, and name it here; its
BatchNorms keep the statistics they have from there. The recipe is that of
mask_rcnn_convnext_t_coco.py.
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/mask_rcnn_roadmap_coco.py 8 --pretrained classifier.pth
"""

_base_ = [
    '_base_/models/mask_rcnn_convnext.py',
    '_base_/datasets/coco_instance.py',
    '_base_/schedules/detection_36e.py',
    '_base_/detection_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmconvnext.RoadmapNet',
        step='separate_downsampling',
        regime='resnet50',
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
        norm_eval=True,
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4),
    paramwise_cfg=dict(_delete_=True, decay_rate=0.95, decay_type='layer_wise'),
)
