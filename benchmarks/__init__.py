"""Fair timings: several implementations of one thing, in turns, on one machine.

Import this before mmconvnext, which sets a torchvision aside whose operators do not load beside
this torch: its models are measured nevertheless.
"""

import importlib
import sys

import torch

_LIBRARY = torch.library.Library('torchvision', 'FRAGMENT')  # definitions live as long as it
try:
    importlib.import_module('torchvision')
except ModuleNotFoundError:
    pass
except RuntimeError:  # it asks for the schemas of two operators when it is imported
    for _name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[_name]
    for _name in ('nms', 'qnms'):
        _LIBRARY.define(f'{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    importlib.import_module('torchvision')
