"""What a checkpoint says of its run is data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.training_state import as_data, finite_number


def cleaned(tmp_path: Path, **hub: object) -> tuple[dict, list[str]]:
    content = dict(message_hub=dict(log_scalars={}, runtime_info=hub, resumed_keys={}), meta={})
    content, notices = as_data(content, tmp_path)
    return content['message_hub']['runtime_info'], notices


def test_configs_and_unknown_entries_of_meta_are_dropped(tmp_path: Path) -> None:
    meta = dict(
        config="__import__('os').system('true')\ngpu_ids=[]\n",
        cfg='import os',
        hook_msgs=dict(last_ckpt='/etc/passwd'),
        epoch=2,
        iter=30,
        seed=7,
        dataset_meta=dict(classes=('n/a', 'dog'), palette=[[1, 2, 3]]),
    )
    content, _ = as_data(dict(meta=meta), tmp_path)
    assert content['meta'] == {k: meta[k] for k in ('epoch', 'iter', 'seed', 'dataset_meta')}
    assert meta['config'], 'the file s own content is not changed'


@pytest.mark.parametrize('value', [-1, 2.5, True, '7', None, [1]])
def test_counters_are_whole_numbers(value: object, tmp_path: Path) -> None:
    content, _ = as_data(dict(meta=dict(iter=value, epoch=value, seed=value)), tmp_path)
    assert content['meta'] == {}


@pytest.mark.parametrize(
    'path', ['/some/dir', '/etc/passwd', '../../x', 'C:\\x', '~/x', 'a/b', 's3://x/y', '/']
)
def test_paths_that_lead_elsewhere_are_dropped_with_a_notice(path: str, tmp_path: Path) -> None:
    info, (notice,) = cleaned(tmp_path, some_file=path, something={'deep': [path]}, iter=3)
    assert info['iter'] == 3
    assert 'some_file' not in info
    assert info['something'] == {'deep': [None]}
    assert 'some_file' in notice
    assert str(tmp_path) in notice


def test_a_path_counts_as_the_file_of_its_name_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / 'iter_3.pth').write_text('')
    (tmp_path / 'link.pth').symlink_to('/etc/passwd')
    info, _ = cleaned(tmp_path, some_file='/before/it/moved/iter_3.pth', other='/x/link.pth')
    assert info == {'some_file': str(tmp_path / 'iter_3.pth')}


def test_what_the_run_sets_itself_is_dropped_without_a_word(tmp_path: Path) -> None:
    best = dict(best_ckpt='/old/best_acc_iter_2.pth', best_score=np.float32(3))
    own = dict(
        cfg='import os', last_ckpt='/old/iter_2.pth', seed=3, experiment_name='/x', dataset_meta={}
    )
    info, notices = cleaned(tmp_path, **own, **best)
    assert info == {}
    assert notices == []


def test_histories_are_new_ones_of_the_same_numbers(tmp_path: Path) -> None:
    hub = MessageHub.get_instance('of a training')
    for value in (1.0, 2.5):
        hub.update_scalar('train/loss', value)
    torch.save(dict(message_hub=hub.state_dict()), tmp_path / 'a.pth')
    content, notices = as_data(read_checkpoint(str(tmp_path / 'a.pth')), tmp_path)
    history = content['message_hub']['log_scalars']['train/loss']
    values, counts = history.data
    assert values.tolist() == [1.0, 2.5]
    assert counts.tolist() == [1, 1]
    assert history.mean() == 1.75
    assert content['message_hub']['resumed_keys'] == {'train/loss': True}
    assert notices == []


@pytest.mark.parametrize(
    'state',
    [
        {},
        dict(_log_history=np.ones(3), _count_history=np.ones(2), max_length=10),
        dict(_log_history=np.ones((2, 2)), _count_history=np.ones((2, 2)), max_length=10),
        dict(_log_history=np.ones(2), _count_history=np.ones(2), max_length=-1),
        dict(_log_history='x', _count_history=np.ones(1), max_length=1),
    ],
)
def test_broken_histories_are_dropped_with_a_notice(state: dict, tmp_path: Path) -> None:
    broken = HistoryBuffer.__new__(HistoryBuffer)
    vars(broken).update(state)
    hub = dict(log_scalars={'a': broken, 'b': 'no history'}, runtime_info={}, resumed_keys={'a': 1})
    content, notices = as_data(dict(message_hub=hub), tmp_path)
    assert content['message_hub'] == dict(log_scalars={}, runtime_info={}, resumed_keys={})
    assert len(notices) == 2


def test_a_file_cannot_change_the_methods_of_all_histories(tmp_path: Path) -> None:
    buffer = HistoryBuffer()
    buffer.update(3.0)
    methods = dict(HistoryBuffer._statistics_methods)
    hostile = HistoryBuffer([1.0], [1])
    HistoryBuffer._statistics_methods['mean'] = HistoryBuffer.max
    torch.save(dict(a=hostile), tmp_path / 'a.pth')
    HistoryBuffer._statistics_methods['mean'] = methods['mean']
    read_checkpoint(str(tmp_path / 'a.pth'))
    assert HistoryBuffer._statistics_methods == methods


def test_containers_in_circles_and_odd_hubs_end(tmp_path: Path) -> None:
    circle: list = []
    circle.append(circle)
    info, _ = cleaned(tmp_path, circle=circle)
    assert str(info['circle']).count('[') < 20
    for hub in ([], 'x', {'runtime_info': 3}, {3: {}}):
        content, _ = as_data(dict(message_hub=hub), tmp_path)
        assert content['message_hub'] == dict(log_scalars={}, runtime_info={}, resumed_keys={})


@pytest.mark.parametrize(
    ('value', 'number'),
    [(3, 3.0), (np.float32(2.5), 2.5), (np.nan, None), (True, None), ('3', None), (np.inf, None)],
)
def test_numbers(value: object, number: float | None) -> None:
    assert finite_number(value) == number


def test_containers_that_multiply_do_not_take_for_ever(tmp_path: Path) -> None:
    many: list = []
    many += [many] * 60
    info, _ = cleaned(tmp_path, many=many)
    content, _ = as_data(dict(meta=dict(dataset_meta=dict(classes=many))), tmp_path)
    assert {*info} <= {'many'}
    assert {*content['meta']} == {'dataset_meta'}
