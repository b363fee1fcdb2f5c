import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmconvnext.command_line import hardware
from mmconvnext.errors import UserError
from tests.conftest import CONFIGS


@pytest.fixture
def config() -> Config:
    return Config.fromfile(CONFIGS / 'upernet_convnext_t_ade20k.py')


@pytest.fixture
def on_cpu(monkeypatch) -> None:
    monkeypatch.setattr(hardware, 'get_device', lambda: 'cpu')


def test_a_cpu_gets_float32_and_plain_bn_with_notices(config, on_cpu) -> None:
    config.optim_wrapper.loss_scale = 'dynamic'
    notices = hardware.fit_to_hardware(config)
    assert config.optim_wrapper.type == 'OptimWrapper'
    assert 'loss_scale' not in config.optim_wrapper
    assert config.model.decode_head.norm_cfg.type == 'BN'
    assert config.model.auxiliary_head.norm_cfg.type == 'BN'
    assert len(notices) == 2
    assert 'float32' in notices[0]


def test_a_cpu_converts_no_batch_norm_to_sync_bn(on_cpu) -> None:
    config = Config.fromfile(CONFIGS / 'upernet_roadmap_ade20k.py')
    assert config.sync_bn == 'torch'
    assert 'BN instead of SyncBN' in hardware.fit_to_hardware(config)[-1]
    assert 'sync_bn' not in config


def test_a_gpu_changes_nothing(config, monkeypatch) -> None:
    monkeypatch.setattr(hardware, 'get_device', lambda: 'cuda')
    before = config.pretty_text
    assert hardware.fit_to_hardware(config) == []
    assert config.pretty_text == before
    assert config.optim_wrapper.type == 'AmpOptimWrapper'


def test_processes_on_cpus_need_torchrun(config, on_cpu) -> None:
    config.launcher = 'slurm'
    with pytest.raises(UserError, match=r'expected pytorch \(torchrun\) .* got slurm'):
        hardware.fit_to_hardware(config)


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_pytorch_s_launcher_is_torchrun(config, device: str, monkeypatch) -> None:
    monkeypatch.setattr(hardware, 'get_device', lambda: device)
    config.launcher = 'pytorch'
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(UserError, match=r'expected the environment of torchrun, .*RANK'):
        hardware.fit_to_hardware(config)


LEAVING = """
import sys
from pathlib import Path
import torch
from mmconvnext.command_line.hardware import leave_process_group
store = torch.distributed.FileStore(sys.argv[1], 1)
torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
def gloo():
    names = [path.read_text() for path in Path('/proc/self/task').glob('*/comm')]
    return sum('gloo' in name for name in names)
def train():
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    model.runner = [model]  # in a circle, as a runner's parts are
train()
before = gloo()
leave_process_group()
print(before, gloo())
"""


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='threads are counted on Linux')
def test_no_thread_of_gloo_outlives_the_group(tmp_path: Path) -> None:
    command = [sys.executable, '-W', 'ignore', '-c', LEAVING, tmp_path / 'store']
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = map(int, result.stdout.split())
    assert before > 0
    assert after == 0
