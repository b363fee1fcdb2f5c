import subprocess
import sys

import pytest
import torch

from mmconvnext.classification import TimmRandAugment, TimmRandomErasing
from mmconvnext.classification.timm_augmentation import build_mixing
from mmconvnext.errors import ArgumentError
from tests.classification.test_classifier import classifier, samples_of


@pytest.fixture
def _no_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'timm', None)


@pytest.mark.usefixtures('_no_timm')
@pytest.mark.parametrize(
    'build',
    [TimmRandAugment, TimmRandomErasing, lambda: build_mixing({}, 5, 0.1)],
    ids=['randaugment', 'erasing', 'mixing'],
)
def test_without_timm_there_is_one_line(build) -> None:
    message = r'expected timm \(pip install "mmconvnext\[timm\]"\), got ModuleNotFoundError'
    with pytest.raises(ArgumentError, match=message) as caught:
        build()
    assert '\n' not in str(caught.value)


@pytest.mark.usefixtures('_no_timm')
def test_a_model_that_mixes_tests_without_timm() -> None:
    model = classifier(mixing=dict(mixup_alpha=0.8))
    inputs, samples = torch.randn(2, 3, 32, 32), samples_of(0, 1)
    assert len(model(inputs, samples, mode='predict')) == 2
    with pytest.raises(ArgumentError, match='expected timm'):
        model(inputs, samples, mode='loss')


def test_importing_the_package_imports_no_timm() -> None:
    command = 'import sys, mmconvnext.classification; sys.exit("timm" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', command], check=False).returncode == 0


def test_other_modes() -> None:
    with pytest.raises(ArgumentError, match="mode: expected 'pixel', 'rand' or 'const'"):
        TimmRandomErasing(mode='a')
