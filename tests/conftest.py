"""What several test files share: small models, generated data, the tools in a process."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.tool_process import run_script

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'
# Optional: real labelled images, and compiled wheels of mmcv as oracles.
SAMPLES = Path(os.environ.get('MMCONVNEXT_SAMPLES') or ROOT.parent / 'shared' / 'data')
WHEELS = Path(os.environ.get('MMCONVNEXT_WHEELS') or ROOT.parent / 'shared' / 'wheels')
SMALL = dict(depths=(1, 1, 2, 1), channels=(8, 16, 24, 32))


def pytest_sessionstart() -> None:
    """Import mmconvnext before any test module, since it makes mmdet and mmseg importable.

    Not at the top of this file: oracles/conftest.py prepares the way for torchvision first.
    """
    import mmconvnext  # noqa: F401

    # A shell has what it starts in the background ignore Ctrl-C, which tests send to processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def default_scope() -> Iterator[None]:
    """Forgets the registry scopes that a test's runners made current: the next test has none."""
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture
def small_backbone() -> Callable[..., torch.nn.Module]:
    """Builds a ConvNeXt of a few thousand parameters; layer scale 1 so that branches matter."""

    from mmconvnext import ConvNeXt

    def build(**options: object) -> ConvNeXt:
        options = {'arch': SMALL, 'layer_scale_init_value': 1.0, **options}
        if options.get('use_grn'):
            options['layer_scale_init_value'] = None
        return ConvNeXt(**options)

    return build


@pytest.fixture(scope='session')
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny generated dataset in ADE20K's layout: 8 + 4 images of 64 px."""
    from mmconvnext.data.samples import write_segmentation_samples

    root = tmp_path_factory.mktemp('data') / 'samples'
    return write_segmentation_samples(root, training=8, validation=4, size=64)


@pytest.fixture(scope='session')
def real_samples() -> Path:
    """Real labelled images: ade20k_sample and coco_sample below one folder."""
    if not (SAMPLES / 'ade20k_sample').is_dir():
        pytest.skip(f'no real images in {SAMPLES}: set MMCONVNEXT_SAMPLES to have these tests')
    return SAMPLES


@pytest.fixture(scope='session')
def run_tool() -> Callable[..., subprocess.CompletedProcess]:
    """Runs ``python tools/NAME.py …`` as a person would, from the repository's root."""

    def run(*arguments: object, cwd: Path = ROOT, **environment: str):
        return run_script(
            [str(argument) for argument in arguments],
            cwd=cwd,
            environment={'OMP_NUM_THREADS': '2', **os.environ, **environment},
            timeout=600,
        )

    return run
