"""The roadmap's published figures, and contradictions between them.

Source: Liu et al., A ConvNet for the 2020s (arXiv 2201.03545v2), figure 2 and tables 10 and 11:
ImageNet-1K, 224², top-1 in percent. None of the accuracies was reproduced here.
"""

from typing import NamedTuple

SOURCE = 'arXiv 2201.03545v2, tables 10 and 11'


class PublishedNetwork(NamedTuple):
    """The paper's figures for a network; its FLOPs are multiply-accumulates."""

    top1: float  # in percent; in the ResNet-50 regime the mean of several runs
    gflops: float
    deviation: float | None = None  # of top1 over the runs, if published
    note: str = ''  # a contradiction in the figures


class Rival(NamedTuple):
    """The network with which the paper compares the last step."""

    name: str
    published: PublishedNetwork


_LAYER_NORM = (
    'table 10 prints 4.46 GFLOPs and figure 2 prints 4.2, where a LayerNorm changes no convolution '
    'and table 11 keeps its count; 4.46 is the count of the next step, most likely a slip of a row'
)
_LAST = 'table 10 prints 4.49 GFLOPs, which no consistent count yields: it is 4.46'

PUBLISHED: dict[str, dict[str, PublishedNetwork]] = {
    'resnet50': {
        'resnet50': PublishedNetwork(78.82, 4.09, 0.07),
        'stage_ratio': PublishedNetwork(79.36, 4.53, 0.07),
        'patchify_stem': PublishedNetwork(79.51, 4.42, 0.18),
        'depthwise': PublishedNetwork(78.28, 2.35, 0.08),
        'width': PublishedNetwork(80.50, 5.27, 0.02),
        'inverted_bottleneck': PublishedNetwork(80.64, 4.64, 0.03),
        'depthwise_up': PublishedNetwork(79.92, 4.07, 0.08),
        'kernel_5': PublishedNetwork(80.35, 4.10, 0.08),
        'kernel_7': PublishedNetwork(80.57, 4.15, 0.14),
        'kernel_9': PublishedNetwork(80.57, 4.21, 0.06),
        'kernel_11': PublishedNetwork(80.47, 4.29, 0.11),
        'gelu': PublishedNetwork(80.62, 4.15, 0.14),
        'fewer_activations': PublishedNetwork(81.27, 4.15, 0.06),
        'fewer_norms': PublishedNetwork(81.41, 4.15, 0.09),
        'layer_norm': PublishedNetwork(81.47, 4.46, 0.09, _LAYER_NORM),
        'separate_downsampling': PublishedNetwork(81.97, 4.49, 0.06, _LAST),
    },
    'resnet200': {
        'resnet50': PublishedNetwork(81.14, 15.01),
        'stage_ratio': PublishedNetwork(81.33, 14.52),
        'patchify_stem': PublishedNetwork(81.59, 14.38),
        'depthwise': PublishedNetwork(80.54, 7.23),
        'width': PublishedNetwork(81.85, 16.76),
        'inverted_bottleneck': PublishedNetwork(82.64, 15.68),
        'depthwise_up': PublishedNetwork(82.04, 14.63),
        'kernel_5': PublishedNetwork(82.32, 14.70),
        'kernel_7': PublishedNetwork(82.30, 14.81),
        'kernel_9': PublishedNetwork(82.27, 14.95),
        'kernel_11': PublishedNetwork(82.18, 15.13),
        'gelu': PublishedNetwork(82.19, 14.81),
        'fewer_activations': PublishedNetwork(82.71, 14.81),
        'fewer_norms': PublishedNetwork(83.17, 14.81),
        'layer_norm': PublishedNetwork(83.35, 14.81),
        'separate_downsampling': PublishedNetwork(83.60, 15.35),
    },
}
RIVALS: dict[str, Rival] = {
    'resnet50': Rival('Swin-T', PublishedNetwork(81.30, 4.50)),
    'resnet200': Rival('Swin-B', PublishedNetwork(83.50, 15.43)),
}
