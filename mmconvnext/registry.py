"""Child registries of mmengine's root registries, with the scope ``mmconvnext``.

With the prefix, ``type='mmconvnext.ConvNeXt'`` works in the mmseg, mmdet and mmengine scopes.
Nothing is registered in the root registries, where names of mmdet or mmseg would silently shadow
ours. ``locations`` are imported at the first look-up.
"""

from importlib.util import find_spec

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

_CLASSIFICATION = ['mmconvnext.classification']
# Modules for mmseg or mmdet are imported only if mmseg or mmdet is installed.
_SEGMENTATION = ['mmconvnext.segmentation'] if find_spec('mmseg') else []
_DETECTION = ['mmconvnext.detection'] if find_spec('mmdet') else []

# Whole models, backbones, heads and test-time augmentation models.
MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='mmconvnext',
    locations=[
        'mmconvnext.backbones',
        'mmconvnext.studies.roadmap',
        *_CLASSIFICATION,
        *_SEGMENTATION,
        *_DETECTION,
    ],
)

# Constructors that build an optimizer with parameter groups from a model and `paramwise_cfg`.
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmconvnext',
    locations=['mmconvnext.optim'],
)

# Optimizer wrappers, which step an optimizer after they have checked the loss and gradients.
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmconvnext',
    locations=['mmconvnext.optim'],
)

# Runners of training and testing, and their loops.
RUNNERS = Registry(
    'runner',
    parent=MMENGINE_RUNNERS,
    scope='mmconvnext',
    locations=['mmconvnext.runner.runner'],
)
LOOPS = Registry(
    'loop', parent=MMENGINE_LOOPS, scope='mmconvnext', locations=['mmconvnext.runner.loops']
)

# Hooks of the training and the test loop.
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmconvnext', locations=['mmconvnext.hooks'])

# Evaluation metrics.
METRICS = Registry(
    'metric',
    parent=MMENGINE_METRICS,
    scope='mmconvnext',
    locations=[*_CLASSIFICATION, *_SEGMENTATION, *_DETECTION],
)

# Datasets, and the transforms of their pipelines.
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmconvnext', locations=_CLASSIFICATION
)
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope='mmconvnext', locations=_CLASSIFICATION
)
