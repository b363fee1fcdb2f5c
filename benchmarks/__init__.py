"""Fair timing: several implementations of one task, in turns, on one machine.

Import this before mmconvnext, which ignores a torchvision whose operators do not load with this
torch: its models can still be measured.
"""

import importlib
import sys

import torch

_LIBRARY = torch.library.Library('torchvision', 'FRAGMENT')  # keeps the definitions alive
try:
    importlib.import_module('torchvision')
except ModuleNotFoundError:
    pass
except RuntimeError:  # importing torchvision needs the schemas of two operators
    for _name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[_name]
    for _name in ('nms', 'qnms'):
        _LIBRARY.define(f'{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
    importlib.import_module('torchvision')
