"""The box and mask heads of two-stage detectors."""

from torch import nn


def stages(roi_head: nn.Module, kind: str) -> list[tuple[nn.Module, nn.Module]]:
    """Return the RoI extractor and the head of each stage.

    A cascade has several stages, any other detector one. The list is empty without such a head.

    Args:
        roi_head: RoI head of mmdet.
        kind: ``'bbox'`` or ``'mask'``.
    """
    parts = [getattr(roi_head, f'{kind}_{part}', None) for part in ('roi_extractor', 'head')]
    if parts[1] is None:
        return []
    return list(zip(*(part if isinstance(part, nn.ModuleList) else [part] for part in parts)))
