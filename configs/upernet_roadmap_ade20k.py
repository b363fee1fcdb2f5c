"""UperNet on a step of the way from ResNet-50 to ConvNeXt-T, ADE20K, 512² crops, 160k iterations.

Any step, or the way to ConvNeXt-B: `--cfg-options model.backbone.step=depthwise`,
`model.backbone.regime=resnet200`; the heads follow. Nobody published results or weights of these
models: train the backbone first, with configs/roadmap_resnet50_in1k.py, and name it here. The
recipe is that of upernet_convnext_t_ade20k.py, but for the layer decay, which is stage_wise there
and layer_wise here (ours): every step has layers, and only ConvNeXt has the official stages.
8 GPUs × 2 images = 16, mixed precision:
    tools/dist_train.sh configs/upernet_roadmap_ade20k.py 8 --pretrained classifier.pth
"""

_base_ = [
    '_base_/models/upernet_convnext.py',
    '_base_/datasets/ade20k.py',
    '_base_/schedules/upernet_160k.py',
    '_base_/segmentation_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmconvnext.RoadmapNet',
        step='separate_downsampling',
        regime='resnet50',
        drop_path_rate=0.4,
        layer_scale_init_value=1.0,
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(_delete_=True, decay_rate=0.9, decay_type='layer_wise'),
)
sync_bn = 'torch'  # of the backbone too, where it has BatchNorms
