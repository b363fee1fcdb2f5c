"""Which other implementations there are, as shipped and tuned, for a task of the benchmark.

One that is not there, or has no such model, is skipped with a message.
"""

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks import rival_models as models
from benchmarks.case import Variant
from benchmarks.task import Builder, Task, prepare
from mmconvnext.errors import first_line

BUILDERS: Mapping[str, Mapping[str, Builder]] = {
    'backbone': {
        **{name: partial(models.build_backbone, rival=name) for name in models.BACKBONES},
        'official-like': models.build_official_like,
    },
    'head': {'mmseg': partial(models.build_stock, scope='mmseg')},
    'segmentor': {'mmseg': partial(models.build_stock, scope='mmseg')},
    'detector': {'mmdet': partial(models.build_stock, scope='mmdet')},
}
# The modules that each needs; of mmpretrain parts alone, which its builder sees to.
_NEEDED = {
    'timm': ('timm.models.convnext',),
    'torchvision': ('torchvision.models.convnext',),
    'transformers': (
        'transformers.models.convnext.modeling_convnext',
        'transformers.models.convnextv2.modeling_convnextv2',
    ),
    'mmpretrain': (),
    'official-like': (),
    'mmseg': ('mmseg.models',),
    'mmdet': ('mmdet.models',),
}
RIVALS = tuple(_NEEDED)


def available(
    kind: str, rivals: Sequence[str] | None = None, use_grn: bool = False
) -> tuple[dict[str, Builder], dict[str, str]]:
    """Builders of a kind's rivals, all or those named, and why others are left out."""
    wanted = list(BUILDERS[kind]) if rivals is None else rivals
    reasons = ((name, _reason_against(name, kind, use_grn)) for name in wanted)
    left_out = {name: reason for name, reason in reasons if reason}
    return {name: BUILDERS[kind][name] for name in wanted if name not in left_out}, left_out


def variants(
    task: Task, rivals: Sequence[str] | None = None, compiled: bool = False
) -> tuple[list[Variant], dict[str, str]]:
    """Rivals of a task as shipped and tuned, ``compiled`` too, and why others are left out."""
    found = []
    builders, left_out = available(task.kind, rivals, task.use_grn)
    for rival, build in builders.items():
        found.append(Variant(rival, partial(prepare, task, build), rival))
        how = 'channels_last'
        if rival == 'timm':
            build = partial(models.build_backbone, rival=rival, fast_norm=True)
            how = 'channels_last, fast norm'
        for ending in ('', ', compiled') if compiled else ('',):
            step = partial(prepare, task, build, channels_last=True, compiled=bool(ending))
            found.append(Variant(f'{rival}, {how}{ending}', step, rival, tuned=True))
    return found, left_out


def imported() -> list[str]:
    """The modules of rivals that the search for them has imported."""
    return [name for names in _NEEDED.values() for name in names if name in sys.modules]


def _reason_against(rival: str, kind: str, use_grn: bool) -> str | None:
    if rival not in BUILDERS[kind]:
        return f'has no {kind} here'
    if rival == 'torchvision' and use_grn:
        return 'has no ConvNeXt V2'
    problem = _problem(rival)
    if not problem and kind in ('segmentor', 'detector') and (behind := _problem('mmpretrain')):
        problem = f'its backbone: {behind}'
    return problem


def _problem(rival: str) -> str | None:
    try:
        if rival == 'mmpretrain' and importlib.util.find_spec(rival) is None:
            return 'is not on the path'
        for module in _NEEDED[rival]:
            importlib.import_module(module)
    except ModuleNotFoundError as error:
        return 'is not on the path' if error.name == rival else first_line(error)
    except Exception as error:  # whatever a broken installation raises
        return first_line(error)
    return None
