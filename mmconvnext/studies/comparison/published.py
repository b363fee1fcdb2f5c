"""Published results of the compared models; nothing here was measured by this project.

Unpublished results have no entry. Recipes differ: each row names its own. Accuracy and cost of a
ConvNeXt with a config here come from the metafile.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from mmconvnext.analysis.metafile import own_record

# Sources, by the number in brackets after a result.
SOURCES: Mapping[int, str] = {
    1: "ConvNeXt's authors, arXiv 2201.03545, tables 1, 3, 4, 10 and 12",
    2: "Swin's authors, github.com/microsoft/Swin-Transformer @005e8ef, README",
    3: 'mmseg 1.2.2, configs/upernet/metafile.yaml: SGD, 160k iterations of 16',
    4: 'mmdet 3.3.0, configs/mask_rcnn/metafile.yml: SGD, 36 epochs, sides 640 to 800',
}


class PublishedResult(NamedTuple):
    """One published row."""

    source: int  # key of :data:`SOURCES`
    setting: str  # pre-training, crop, schedule
    accuracy: Mapping[str, float]  # percent, by the name of the metric
    parameters_m: float | None = None  # of the whole model, in millions
    gflops: float | None = None  # billions of multiply-accumulates; the papers round up
    speed: Mapping[str, float] = MappingProxyType({})  # images per second, by hardware

    def as_json(self) -> dict[str, Any]:
        plain = {'accuracy': dict(self.accuracy), 'speed': dict(self.speed)}
        return self._asdict() | plain | {'source': SOURCES[self.source]}


# The metrics of each model, in the order of a table; the first one is the figure's axis.
METRICS: Mapping[str, tuple[str, ...]] = {
    'upernet': ('mIoU ms', 'mIoU ss'),
    'mask_rcnn': ('box AP', 'mask AP'),
}

# Their names in the metafile.
_NAMES = {'mIoU ms': 'mIoU(ms+flip)', 'mIoU ss': 'mIoU', '1K': 'Top 1 Accuracy'}
_K1, _K22 = '1K, 512², 160k', '22K, 640², 160k'
_COCO = '1K, 36 epochs'


def _own(config: str, setting: str, *metrics: str, **speed: float) -> PublishedResult:
    """Return a ConvNeXt's accuracy and cost from its config's entry in the metafile."""
    record = own_record(config)
    accuracy = {name: record.results[_NAMES.get(name, name)] for name in metrics}
    return PublishedResult(1, setting, accuracy, record.parameters_m, record.gmacs, speed)


def _ade(source: int, setting: str, single: float, multi: float, *cost: float) -> PublishedResult:
    parameters_m, gflops = cost or (None, None)
    accuracy = {'mIoU ms': multi, 'mIoU ss': single}
    return PublishedResult(source, setting, accuracy, parameters_m, gflops)


def _coco(source: int, box: float, mask: float, *cost: float, **speed: float) -> PublishedResult:
    parameters_m, gflops = cost or (None, None)
    accuracy = {'box AP': box, 'mask AP': mask}
    return PublishedResult(source, _COCO, accuracy, parameters_m, gflops, speed)


@cache
def results() -> Mapping[str, Mapping[tuple[str, str], PublishedResult]]:
    """Return results by model, then by family and size; raise UserError if one is missing."""
    ade, coco = METRICS['upernet'], METRICS['mask_rcnn']
    return {
        'upernet': {
            ('convnext', 'T'): _own('upernet_convnext_t_ade20k', _K1, *ade),
            ('convnext', 'S'): _own('upernet_convnext_s_ade20k', _K1, *ade),
            ('convnext', 'B'): _own('upernet_convnext_b_ade20k', _K1, *ade),
            ('convnext', 'L'): _own('upernet_convnext_l_in22k_ade20k_640', _K22, *ade),
            ('swin', 'T'): _ade(2, _K1, 44.51, 45.81, 60, 945),
            ('swin', 'S'): _ade(2, _K1, 47.64, 49.47, 81, 1038),
            ('swin', 'B'): _ade(2, _K1, 48.13, 49.72, 121, 1188),
            ('swin', 'L'): _ade(2, _K22, 52.05, 53.53, 234, 3230),
            ('resnet', 'T'): _ade(3, _K1, 42.05, 42.78),
            ('resnet', 'S'): _ade(3, _K1, 43.82, 44.85),
        },
        'mask_rcnn': {
            ('convnext', 'T'): _own('mask_rcnn_convnext_t_coco', _COCO, *coco, A100=25.6),
            ('swin', 'T'): _coco(2, 46.0, 41.6, 48, 267, A100=23.1),
            ('swin', 'S'): _coco(2, 48.5, 43.3, 69, 359),
            ('resnet', 'T'): _coco(4, 40.9, 37.1),
            ('resnet', 'S'): _coco(4, 42.7, 38.5),
        },
    }


def result(model: str, family: str, size: str) -> PublishedResult | None:
    """Return the published result of a model with a backbone; plain ConvNeXt has the same."""
    return results()[model].get((family.removesuffix('_plain'), size))


def _top1(
    accuracy: Mapping[str, float], parameters_m: float, gflops: float, **speed: float
) -> PublishedResult:
    return PublishedResult(1, '224²', accuracy, parameters_m, gflops, speed)


def _convnext(config: str, k22: float, **speed: float) -> PublishedResult:
    own = _own(config, '224²', '1K', **speed)
    # For 22K there are no configs at 224² except XL's.
    return own._replace(accuracy={**own.accuracy, '22K to 1K': k22})


@cache
def imagenet() -> Mapping[str, PublishedResult]:
    """Return the classifiers' ImageNet-1K top-1 at 224² and images per second, by backbone.

    ResNet-50 is the roadmap's, trained like ConvNeXt. Raises UserError if the metafile lacks one.
    """
    return {
        'Swin-T': _top1({'1K': 81.3}, 28, 4.5, V100=757.9, A100=1325.6),
        'ConvNeXt-T': _convnext('convnext_t_in1k', 82.9, V100=774.7, A100=1943.5),
        'Swin-S': _top1({'1K': 83.0}, 50, 8.7, V100=436.7, A100=857.3),
        'ConvNeXt-S': _convnext('convnext_s_in1k', 84.6, V100=447.1, A100=1275.3),
        'Swin-B': _top1({'1K': 83.5, '22K to 1K': 85.2}, 88, 15.4, V100=286.6, A100=662.8),
        'ConvNeXt-B': _convnext('convnext_b_in1k', 85.8, V100=292.1, A100=969.0),
        'Swin-L': _top1({'22K to 1K': 86.3}, 197, 34.5, V100=145.0, A100=435.9),
        'ResNet-50': PublishedResult(1, '224²', {'1K': 78.82}, gflops=4.09),
        'ConvNeXt-L': _convnext('convnext_l_in1k', 86.6, V100=146.8, A100=611.5),
    }
