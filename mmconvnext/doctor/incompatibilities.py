"""Versions that are known to fail together, as data.

An entry applies if all of ``present`` is installed.
"""

from typing import NamedTuple


class Incompatibility(NamedTuple):
    """Versions that fail together."""

    # Requirements that are all met; ``python`` and ``mmconvnext-editable`` count as distributions.
    present: tuple[str, ...]
    fails: str  # what happens
    remedy: str  # command or advice
    source: str  # where it is reported, or with what it was seen
    absent: str = ''  # a distribution that has to be missing
    breaks: str = ''  # import name that fails so; its own error need not be told too
    certain: bool = True  # or it only may fail


INCOMPATIBILITIES: tuple[Incompatibility, ...] = (
    Incompatibility(
        ('torch<2.11',),
        'mmconvnext is for torch 2.11 and later',
        'pip install "torch>=2.11"',
        'setup.cfg',
    ),
    Incompatibility(
        ('python>=3.14',),
        'not tested',
        'use Python 3.11, 3.12 or 3.13',
        'setup.cfg',
        certain=False,
    ),
    *(
        Incompatibility(
            (user, f'{mmcv}>=2.2.0'),
            f'import {name} asserts mmcv < 2.2.0',
            'pip uninstall -y mmcv mmcv-lite && pip install mmcv-lite==2.1.0',
            source,
            breaks=name,
        )
        for user, name, source in (
            ('mmdet<=3.3.0', 'mmdet', 'https://github.com/open-mmlab/mmdetection/issues/11763'),
            ('mmsegmentation<=1.2.2', 'mmseg', 'https://github.com/open-mmlab/mmcv/issues/3096'),
        )
        for mmcv in ('mmcv', 'mmcv-lite')
    ),
    *(
        Incompatibility(
            (f'{mmcv}<2.0.0rc4',),
            'mmdet 3 and mmsegmentation 1 need mmcv 2',
            f'pip uninstall -y {mmcv} && pip install mmcv-lite==2.1.0',
            'https://github.com/open-mmlab/mmdetection/issues/11476',
            breaks='mmcv',
        )
        for mmcv in ('mmcv', 'mmcv-lite', 'mmcv-full')
    ),
    *(
        Incompatibility(
            ('mmengine<=0.10.7', *beside),
            '`mmdet::…` and `mmseg::…` bases of configs: mmengine reads them with pkg_resources',
            'pip install "setuptools<82"',
            'https://setuptools.pypa.io/en/stable/history.html',
            absent=absent,
        )
        for beside, absent in ((('setuptools>=82',), ''), ((), 'setuptools'))
    ),
    Incompatibility(
        ('openmim', 'setuptools>=82'),
        'mim does not start: it imports pkg_resources',
        'pip install "setuptools<82"',
        'https://setuptools.pypa.io/en/stable/history.html',
    ),
    Incompatibility(
        ('openmim', 'mmconvnext-editable'),
        'mim finds neither tools nor configs of a package installed in place',
        'pip install . (without --editable)',
        'seen with openmim 0.3.9',
        certain=False,
    ),
    *(
        Incompatibility(
            ('mmsegmentation<=1.2.2',),
            f'mmsegmentation imports {name} and does not require it',
            f'pip install {name}',
            'https://github.com/open-mmlab/mmsegmentation/issues/3704',
            absent=name,
            breaks='mmseg',
        )
        for name in ('ftfy', 'regex')
    ),
    *(
        Incompatibility(
            (mmdet,),
            "COCO's evaluation needs it",
            'pip install faster-coco-eval',
            'setup.cfg',
            absent='faster-coco-eval',
        )
        for mmdet in ('mmdet', 'onedl-mmdetection')
    ),
    *(
        Incompatibility(
            (user, 'mmpretrain<=1.2.0', *beside),
            f'import {name} imports mmpretrain, which {fails}',
            f'pip uninstall mmpretrain (mmconvnext needs none){or_else}',
            'seen with mmpretrain 1.2.0',
            absent=absent,
            breaks=name,
        )
        for beside, absent, fails, or_else in (
            (['transformers>=5'], '', 'transformers 5 breaks', ', or pip install "transformers<5"'),
            ([], 'torchvision', 'needs torchvision', ''),
        )
        for user, name in (('mmdet', 'mmdet'), ('mmsegmentation', 'mmseg'))
    ),
)


class Clash(NamedTuple):
    """A package to install after uninstalling all distributions with the same import name."""

    install: str
    source: str
    certain: bool = True


# By import name: the files of one distribution lie over those of the other.
CLASHES = {
    'mmengine': Clash('mmengine==0.10.7', 'https://pypi.org/project/onedl-mmengine/'),
    'mmcv': Clash(
        'mmcv-lite==2.1.0', 'https://mmcv.readthedocs.io/en/latest/get_started/installation.html'
    ),
    'mmdet': Clash('mmdet==3.3.0', 'https://pypi.org/project/onedl-mmdetection/'),
    'mmseg': Clash('mmsegmentation==1.2.2', 'https://pypi.org/project/onedl-mmsegmentation/'),
    'cv2': Clash('opencv-python', 'https://pypi.org/project/opencv-python/', certain=False),
}


class Variable(NamedTuple):
    """Accepted values (any, if empty), values with which no tool runs, and the reason."""

    values: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    fails: str = ''


VARIABLES = {
    'MMCONVNEXT_ROI_ALIGN': Variable(
        values=('auto', 'compiled'), fails='another value is taken for auto'
    ),
    'MMCONVNEXT_SAMPLES': Variable(),
    'MMCONVNEXT_WHEELS': Variable(),
    'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': Variable(
        refused=('1', 'y', 'yes', 'true'),
        fails='it lets a checkpoint run code, and the tools here refuse to run',
    ),
}
