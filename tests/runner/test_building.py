import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from mmconvnext.errors import ArgumentError, CheckpointError
from mmconvnext.runner.building import building
from mmconvnext.runner.runner import Runner


class Picky:
    def __init__(self, width: int = 1) -> None:
        if width == 0:
            raise AssertionError


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (dict(depth=1), "TypeError: .*unexpected keyword argument 'depth'"),
        (dict(width=0), 'AssertionError: raise AssertionError'),
    ],
)
def test_the_message_names_the_class_and_the_cause(options: dict, told: str) -> None:
    message = rf'config: Picky could not be built \({told}\); correct the config$'
    with pytest.raises(ArgumentError, match=message), building('model'):
        MODELS.build(dict(type=Picky, **options))


def test_a_missing_package_is_to_be_installed() -> None:
    told = r'config: visualizer .* \(ImportError: pip install a\); install or remove it'
    with pytest.raises(ArgumentError, match=told), building('visualizer'):
        raise ImportError('pip install a')


@pytest.mark.parametrize('error', [CheckpointError('told'), RuntimeError('no mistake')])
def test_other_errors_are_left(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), building('model'):
        raise error


def test_the_runner_tells_what_it_could_not_build(tmp_path) -> None:
    config = Config(dict(model=dict(type=Picky, depth=1), work_dir=str(tmp_path)))
    with pytest.raises(ArgumentError, match='config: Picky could not be built'):
        Runner.from_cfg(config)
