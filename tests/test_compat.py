import json
import pickle
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from numpy._core import multiarray
from torch.utils.data import DataLoader

import mmconvnext
from mmconvnext import compat
from mmconvnext.compat import PATCHES
from mmconvnext.ops import extension
from tests.conftest import ROOT


def test_what_mmengine_saves_loads_with_weights_only(tmp_path: Path) -> None:
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    values = [np.float64(1.5), np.int64(3), np.arange(3, dtype=np.uint32), np.bool_(True)]
    torch.save({'history': buffer, 'values': values}, tmp_path / 'a.pth')
    loaded = torch.load(tmp_path / 'a.pth', weights_only=True)
    assert loaded['history'].mean() == 1.5
    assert loaded['values'][0] == 1.5


class Reduced:
    """Pickled, it is the call of a function, and a state."""

    def __init__(self, *reduced: object) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple:
        return self.reduced


def dtype(name: str, *state: object) -> Reduced:
    return Reduced(np.dtype, (name, False, True), *state)


def array(kind: Reduced | np.dtype) -> Reduced:
    state = (1, (1,), kind, False, b'AAAAAAAA')
    return Reduced(multiarray._reconstruct, (np.ndarray, (0,), b'b'), state)


OBJECT = dtype('O8')


@pytest.mark.parametrize(
    'value',
    [
        # Eight bytes of the file, which reading an item would take for the address of an object.
        array(dtype('f8', (3, '<', None, ('a',), {'a': (OBJECT, 0)}, 8, 1, 0))),
        array(dtype('f8', (3, '<', (OBJECT, (1,)), None, None, 8, 1, 0))),
        array(dtype('V8', (3, '|', None, ('a',), {'a': (OBJECT, 0)}, 8, 1, 0))),
        array(OBJECT),
        Reduced(multiarray.scalar, (dtype('f8', (3, '<', (OBJECT, (1,)), None, None)), b'A' * 8)),
        array(Reduced(np.dtypes.Float64DType, ())),
        Reduced(np.ndarray, ((2,), OBJECT, b'A' * 16)),
    ],
)
def test_bytes_of_an_array_are_never_addresses(value: Reduced, tmp_path: Path) -> None:
    torch.save({'a': value}, tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / 'a.pth', weights_only=True)


def test_arrays_that_were_loaded_are_saved_as_numpy_s(tmp_path: Path) -> None:
    value = np.arange(6.0).reshape(2, 3)
    for _ in range(2):
        torch.save({'a': value}, tmp_path / 'a.pth')
        value = torch.load(tmp_path / 'a.pth', weights_only=True)['a']
    assert b'mmconvnext' not in (tmp_path / 'a.pth').read_bytes()
    assert (value == np.arange(6.0).reshape(2, 3)).all()


class ReachesOut:
    """Pickled, it would fetch any attribute of an allowed type."""

    def __reduce__(self):
        return getattr, (HistoryBuffer, '__init__')


def test_getattr_gives_a_buffer_s_statistics_alone(tmp_path: Path) -> None:
    torch.save(ReachesOut(), tmp_path / 'a.pth')
    with pytest.raises(pickle.UnpicklingError, match=r"getattr\(.*'__init__'\) was not an allowed"):
        torch.load(tmp_path / 'a.pth', weights_only=True)


@pytest.mark.parametrize('function', ['_reconstruct', 'scalar'])
def test_numpy_1_names_load_too(tmp_path: Path, function: str) -> None:
    path = tmp_path / 'a.pth'
    value = np.float64(1.5) if function == 'scalar' else np.arange(3)
    torch.save({'value': value}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b'numpy._core.multiarray' in content
    path.write_bytes(content.replace(b'numpy._core.multiarray', b'numpy.core.multiarray'))
    assert np.all(torch.load(path, weights_only=True)['value'] == value)


def run_with_fake_torchvision(folder: Path, body: str, code: str) -> subprocess.CompletedProcess:
    (folder / 'torchvision').mkdir()
    (folder / 'torchvision' / '__init__.py').write_text(body)
    return subprocess.run(
        [sys.executable, '-c', code],
        env={'PYTHONPATH': str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_broken_torchvision_is_reported_once_and_set_aside(tmp_path: Path) -> None:
    result = run_with_fake_torchvision(
        tmp_path,
        'raise RuntimeError("operator torchvision::nms does not exist")',
        'import mmconvnext; mmconvnext.compat.apply()\n'
        'from mmengine.utils.dl_utils import collect_env; collect_env()\n',
    )
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if 'torchvision' in line]
    assert len(lines) == 1
    assert 'does not load with torch' in lines[0]
    assert 'operator torchvision::nms does not exist' in result.stderr


def test_a_torchvision_that_fails_without_a_word(tmp_path: Path) -> None:
    result = run_with_fake_torchvision(
        tmp_path,
        'raise RuntimeError',
        'from mmconvnext.doctor import facts, problems; problems.find_problems(facts.collect())',
    )
    assert result.returncode == 0, result.stderr
    assert 'RuntimeError' in result.stderr


def test_a_working_torchvision_is_left_alone(tmp_path: Path) -> None:
    result = run_with_fake_torchvision(
        tmp_path,
        '__version__ = "1"',
        'import mmconvnext, torchvision; assert torchvision.__version__ == "1"',
    )
    assert result.returncode == 0, result.stderr
    assert 'torchvision' not in result.stderr


def test_mmengine_finds_configs_of_the_package() -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    compat.name_package()
    assert MODULE2PACKAGE['mmconvnext'] == 'mmconvnext'


def test_without_openmmlab_the_remedy_is_named() -> None:
    code = 'import sys; sys.modules["mmengine"] = None; import mmconvnext'
    result = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert 'found no mmengine; pip install "mmconvnext[openmmlab]"' in result.stderr


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, mode: str) -> dict:
        return {'loss': self.layer(x).square().mean()}


def test_a_compiled_model_trains_with_grouped_parameters(tmp_path) -> None:
    optimizer = dict(type='AdamW', lr=1e-2, weight_decay=0.1)
    paramwise = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    config = Config(
        dict(
            compile=dict(backend='eager'),
            optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer, paramwise_cfg=paramwise),
        )
    )
    with DefaultScope.overwrite_default_scope('mmengine'):
        runner = Runner(
            model=(model := Toy()),
            work_dir=str(tmp_path),
            train_dataloader=DataLoader([{'x': torch.ones(2)}] * 4),
            train_cfg=dict(by_epoch=False, max_iters=3),
            optim_wrapper=config.optim_wrapper,
            param_scheduler=dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3),
            experiment_name=tmp_path.name,
            cfg=config,
        )
        before = model.layer.weight.detach().clone()
        runner.train()
    assert not torch.equal(model.layer.weight, before)


EVERYTHING = [
    module.name
    for module in pkgutil.walk_packages(mmconvnext.__path__, 'mmconvnext.')
    # Those are imported where Triton is; __main__ runs the report.
    if not re.search(r'triton_kernels\.|__main__', module.name)
]


@pytest.mark.parametrize('modules', [['mmconvnext'], EVERYTHING], ids=['backbone', 'everything'])
def test_importing_changes_what_is_listed_and_nothing_else(modules: list[str]) -> None:
    told = subprocess.run(
        [sys.executable, '-m', 'tests.changed_by_import', *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    changed = json.loads(told.stdout)
    places = [patch.place for patch in PATCHES if patch.state == 'active']
    assert [name for name in changed if not name.startswith(tuple(places))] == []
    assert [place for place in places if not any(name.startswith(place) for name in changed)] == []


def test_the_page_lists_the_patches() -> None:
    page = (ROOT / 'docs' / 'troubleshooting.md').read_text().partition('## What importing')[2]
    rows = re.findall(r'^\| (.*) \| `(.*)` \| (.*) \|$', page, re.M)
    assert rows == [(patch.name, patch.place, patch.why) for patch in PATCHES]


def test_a_patch_tells_its_state(monkeypatch) -> None:
    operators, roi_align, *_ = PATCHES
    states = {'active', 'not needed'}
    assert {operators.state, roi_align.state} == states
    torchvision = next(patch for patch in PATCHES if patch.place == 'sys.modules.torchvision')
    monkeypatch.setitem(compat.set_aside, 'torchvision', 'made for another torch')
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    assert torchvision.state == 'active'
    compiled = next(patch for patch in PATCHES if 'Runner' in patch.place)
    monkeypatch.setattr(Runner, '_maybe_compile', Runner._maybe_compile.__wrapped__)
    assert compiled.state == 'undone'


def test_without_mmcv_its_patches_are_not_loaded(monkeypatch) -> None:
    def is_compiled() -> bool:
        raise ModuleNotFoundError("No module named 'mmcv'")

    monkeypatch.setattr(extension, 'is_compiled', is_compiled)
    states = {patch.place: patch.state for patch in PATCHES}
    assert states['sys.meta_path'] == 'not loaded'
