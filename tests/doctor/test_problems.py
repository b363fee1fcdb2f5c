import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from mmconvnext.doctor import problems
from mmconvnext.doctor.facts import PROVIDERS, Facts, Torch
from mmconvnext.doctor.incompatibilities import CLASHES, INCOMPATIBILITIES, VARIABLES
from mmconvnext.doctor.problems import Problem, find_problems
from tests.conftest import ROOT

CPU = Torch('2.13.0', '', 0, 'cpu')
# The default stack.
DEFAULT = {
    'python': '3.11.7',
    'torch': '2.13.0',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'opencv-python': '5.0.0.93',
    'faster-coco-eval': '1.8.0',
    'ftfy': '6.3.1',
    'regex': '2026.11.15',
    'setuptools': '81.0.0',
}


def judged(broken: dict[str, str] | None = None, without: str = '', **changes) -> list[Problem]:
    """Problems of the default stack with some distributions changed; ``_`` stands for ``-``."""
    looked_at = {name: changes.pop(name) for name in Facts._fields if name in changes}
    versions = DEFAULT | {name.replace('_', '-'): version for name, version in changes.items()}
    for name in without.split():
        del versions[name]
    return find_problems(Facts(versions, broken or {}, **{'torch': CPU, **looked_at}))


def test_the_default_stack_has_no_problem() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ('changes', 'what', 'told'),
    [
        (dict(setuptools='82.0.0'), 'mmengine 0.10.7 with setuptools 82.0.0', 'pkg_resources'),
        (dict(without='setuptools'), 'mmengine 0.10.7 without setuptools', 'pkg_resources'),
        (dict(mmcv_lite='2.2.0'), 'mmdet 3.3.0 with mmcv-lite 2.2.0', 'asserts mmcv < 2.2.0'),
        (dict(mmcv_lite='2.2.0'), 'mmsegmentation 1.2.2 with mmcv-lite 2.2.0', 'asserts'),
        (dict(without='mmcv-lite', mmcv='2.2.0'), 'mmdet 3.3.0 with mmcv 2.2.0', 'asserts'),
        (dict(without='mmcv-lite', mmcv_full='1.7.2'), 'mmcv-full 1.7.2', 'need mmcv 2'),
        (dict(mmcv='2.1.0'), 'mmcv and mmcv-lite', 'both provide mmcv'),
        (dict(onedl_mmengine='0.10.12'), 'mmengine and onedl-mmengine', 'both provide mmengine'),
        (dict(without='ftfy'), 'mmsegmentation 1.2.2 without ftfy', 'does not require it'),
        (dict(without='regex'), 'mmsegmentation 1.2.2 without regex', 'does not require it'),
        (dict(without='faster-coco-eval'), 'mmdet 3.3.0 without faster-coco-eval', 'evaluation'),
        (dict(openmim='0.3.9', setuptools='82.0.0'), 'openmim 0.3.9 with setuptools 82.0.0', ''),
        (
            dict(mmpretrain='1.2.0', transformers='5.23.0', torchvision='0.28.0'),
            'mmdet 3.3.0 with mmpretrain 1.2.0 with transformers 5.23.0',
            'transformers 5 breaks',
        ),
        (dict(mmpretrain='1.2.0'), 'mmdet 3.3.0 with mmpretrain 1.2.0 without torchvision', ''),
        (dict(without='mmengine'), 'mmengine', 'needed by everything'),
        (dict(without='mmcv-lite'), 'mmcv', 'needed by everything but the bare backbone'),
        (dict(without='mmdet mmsegmentation'), 'mmdet, mmseg', 'not installed'),
        (dict(variables={'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': 'True'}), '', 'refuse to run'),
    ],
    ids=str,
)
def test_what_would_fail(changes: dict, what: str, told: str) -> None:
    found = [p for p in judged(**changes) if p.what == what or (not what and told in p.fails)]
    assert len(found) == 1, judged(**changes)
    assert told in found[0].fails
    assert found[0].certain
    assert found[0].remedy


def test_an_old_torch_would_fail() -> None:
    versions = DEFAULT | {'torch': '2.10.0+cpu'}
    (found,) = find_problems(Facts(versions, {}, torch=CPU))
    assert found.what == 'torch 2.10.0+cpu'
    assert found.certain
    assert not find_problems(Facts(DEFAULT | {'torch': '2.14.0.dev20261101'}, {}, torch=CPU))


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        (dict(python='3.14.1'), 'not tested'),
        (dict(without='mmdet faster-coco-eval'), 'needed by detection'),
        (dict(without='mmsegmentation'), 'needed by segmentation'),
        (dict(openmim='0.3.9', mmconvnext_editable='0.1.0'), 'installed in place'),
        (dict(opencv_python_headless='5.0.0.93'), 'both provide cv2'),
        (dict(torch=Torch('2.13.0+cu130', '13.0', 0, 'cpu')), 'built for CUDA 13.0 and finds no'),
        (dict(torchvision='0.27.0', wanted_torch='torch==2.12.0'), 'is made for torch==2.12.0'),
        (dict(variables={'MMCONVNEXT_ROI_ALING': 'auto'}), 'nobody reads it'),
        (dict(variables={'MMCONVNEXT_ROI_ALIGN': 'mmcv'}), 'taken for auto'),
    ],
    ids=str,
)
def test_what_may_fail_is_a_note(changes: dict, told: str) -> None:
    (found,) = judged(**changes)
    assert told in found.fails
    assert not found.certain


def test_what_certainly_fails_comes_first() -> None:
    found = judged(python='3.14.1', without='ftfy')
    assert [problem.certain for problem in found] == [True, False]


@pytest.mark.parametrize(
    ('name', 'told', 'remedy'),
    [
        ('mmcv', 'undefined symbol: _ZN3c10', 'another torch: pip uninstall -y mmcv'),
        ('mmseg', 'something else', 'pip install --force-reinstall --no-deps mmsegmentation'),
        ('mmengine', "No module named 'cv2'", 'pip install opencv-python'),
        ('mmdet', "No module named 'shapely.geometry'", 'pip install shapely'),
        ('mmdet', "No module named 'mmcv._ext'", 'pip install mmcv-lite==2.1.0'),
        ('torchvision', 'operator torchvision::nms does not exist', 'pip uninstall torchvision'),
    ],
)
def test_what_cannot_be_imported_is_told_with_a_remedy(name: str, told: str, remedy: str) -> None:
    (found,) = judged({name: told})
    assert (found.what, found.fails) == (name, f'cannot be imported: {told}')
    assert found.certain == (name != 'torchvision')  # which is set aside
    assert remedy in found.remedy


def test_a_failure_is_told_once() -> None:
    broken = {'mmdet': 'MMCV==2.2.0 is used but incompatible', 'mmseg': 'MMCV==2.2.0 is used'}
    assert len(judged(broken, mmcv_lite='2.2.0')) == 2
    broken = {'mmconvnext': 'ModuleNotFoundError: found no mmengine'}
    told = [p.what for p in judged(broken, without='mmengine')]
    assert told == ['mmengine']
    told = [p.what for p in judged({'torch': "No module named 'torch'"} | broken, without='torch')]
    assert told == ['torch']
    assert [p.what for p in judged(broken)] == ['mmconvnext']


def test_without_packaging_versions_are_not_compared(monkeypatch) -> None:
    monkeypatch.setattr(problems, 'Requirement', None)
    (found,) = judged(setuptools='82.0.0', wanted_torch='torch==2.12.0')
    assert found.what == 'packaging'
    assert not found.certain


def test_the_matrix_is_well_formed() -> None:
    for entry in INCOMPATIBILITIES:
        assert all(Requirement(text) for text in entry.present)
        assert entry.fails
        assert entry.remedy
        assert re.match(r'https://|setup\.cfg$|seen with ', entry.source)
    assert PROVIDERS.keys() - {'torchvision'} == CLASHES.keys()


def test_every_variable_that_is_read_is_known() -> None:
    sources = [p for room in ('mmconvnext', 'tools') for p in (ROOT / room).rglob('*.py')]
    sources.append(ROOT / 'tests/conftest.py')
    read = {
        name
        for path in sources
        if 'environment' not in path.parts
        for name in re.findall(r'\bMMCONVNEXT_[A-Z_]+\b', Path(path).read_text())
    }
    assert read <= VARIABLES.keys()
