"""What others published of the models that are compared; nothing here was measured here.

What was not published has no entry. Recipes differ: each row names its own.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

# Who published it, by the number in brackets behind it.
SOURCES: Mapping[int, str] = MappingProxyType(
    {
        1: "ConvNeXt's authors, arXiv 2201.03545, tables 1, 3, 4, 10 and 12",
        2: "Swin's authors, github.com/microsoft/Swin-Transformer @005e8ef, README",
        3: 'mmseg 1.2.2, configs/upernet/metafile.yaml: SGD, 160k iterations of 16',
        4: 'mmdet 3.3.0, configs/mask_rcnn/metafile.yml: SGD, 36 epochs, sides 640 to 800',
    }
)


class Published(NamedTuple):
    """One row that somebody published.

    Attributes:
        source: Key of :data:`SOURCES`.
        setting: Pre-training, crop, schedule.
        accuracy: Percent, by the name of the metric.
        parameters_m: Of the whole model, in millions.
        gflops: Multiply-accumulates, in billions, which the papers call FLOPs and round up.
        speed: Pictures a second by the name of the hardware.
    """

    source: int
    setting: str
    accuracy: Mapping[str, float]
    parameters_m: float | None = None
    gflops: float | None = None
    speed: Mapping[str, float] = MappingProxyType({})

    def as_json(self) -> dict[str, object]:
        """Plain values; the source in words."""
        plain = {'accuracy': dict(self.accuracy), 'speed': dict(self.speed)}
        return self._asdict() | plain | {'source': SOURCES[self.source]}


# The metrics of each model, in the order of a table; the first one stands on the figure's axis.
METRICS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {'upernet': ('mIoU ms', 'mIoU ss'), 'mask_rcnn': ('box AP', 'mask AP')}
)

_K1, _K22 = '1K, 512², 160k', '22K, 640², 160k'
_COCO = '1K, 36 epochs'


def _ade(source: int, setting: str, single: float, multi: float, *cost: float) -> Published:
    return Published(source, setting, {'mIoU ms': multi, 'mIoU ss': single}, *cost)


def _coco(source: int, box: float, mask: float, *cost: float, a100: float = 0) -> Published:
    speed = {'A100': a100} if a100 else {}
    return Published(source, _COCO, {'box AP': box, 'mask AP': mask}, *cost, speed=speed)


# By family and size.
RESULTS: Mapping[str, Mapping[tuple[str, str], Published]] = MappingProxyType(
    {
        'upernet': {
            ('convnext', 'T'): _ade(1, _K1, 46.0, 46.7, 60, 939),
            ('convnext', 'S'): _ade(1, _K1, 48.7, 49.6, 82, 1027),
            ('convnext', 'B'): _ade(1, _K1, 49.1, 49.9, 122, 1170),
            ('convnext', 'L'): _ade(1, _K22, 53.2, 53.7, 235, 2458),
            ('swin', 'T'): _ade(2, _K1, 44.51, 45.81, 60, 945),
            ('swin', 'S'): _ade(2, _K1, 47.64, 49.47, 81, 1038),
            ('swin', 'B'): _ade(2, _K1, 48.13, 49.72, 121, 1188),
            ('swin', 'L'): _ade(2, _K22, 52.05, 53.53, 234, 3230),
            ('resnet', 'T'): _ade(3, _K1, 42.05, 42.78),
            ('resnet', 'S'): _ade(3, _K1, 43.82, 44.85),
        },
        'mask_rcnn': {
            ('convnext', 'T'): _coco(1, 46.2, 41.7, 48, 262, a100=25.6),
            ('swin', 'T'): _coco(2, 46.0, 41.6, 48, 267, a100=23.1),
            ('swin', 'S'): _coco(2, 48.5, 43.3, 69, 359),
            ('resnet', 'T'): _coco(4, 40.9, 37.1),
            ('resnet', 'S'): _coco(4, 42.7, 38.5),
        },
    }
)  # fmt: skip


def result(model: str, family: str, size: str) -> Published | None:
    """What was published of a model with a backbone; ConvNeXt without its fast form is the same."""
    return RESULTS[model].get((family.removesuffix('_plain'), size))


def _top1(
    k1: float | None, k22: float | None, millions: float, gflops: float, v100: float, a100: float
) -> Published:
    accuracy = {'1K': k1, '22K to 1K': k22}
    accuracy = {name: value for name, value in accuracy.items() if value is not None}
    return Published(1, '224²', accuracy, millions, gflops, {'V100': v100, 'A100': a100})


# ImageNet-1K top-1 at 224², and pictures a second of the classifier alone. ResNet-50 is the
# roadmap's, trained as ConvNeXt is.
IMAGENET: Mapping[str, Published] = MappingProxyType(
    {
        'Swin-T': _top1(81.3, None, 28, 4.5, 757.9, 1325.6),
        'ConvNeXt-T': _top1(82.1, 82.9, 29, 4.5, 774.7, 1943.5),
        'Swin-S': _top1(83.0, None, 50, 8.7, 436.7, 857.3),
        'ConvNeXt-S': _top1(83.1, 84.6, 50, 8.7, 447.1, 1275.3),
        'Swin-B': _top1(83.5, 85.2, 88, 15.4, 286.6, 662.8),
        'ConvNeXt-B': _top1(83.8, 85.8, 89, 15.4, 292.1, 969.0),
        'Swin-L': _top1(None, 86.3, 197, 34.5, 145.0, 435.9),
        'ResNet-50': Published(1, '224²', {'1K': 78.82}, None, 4.09),
        'ConvNeXt-L': _top1(84.3, 86.6, 198, 34.4, 146.8, 611.5),
    }
)  # fmt: skip
