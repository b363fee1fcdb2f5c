"""Checkpoints take the place of others after they are complete, and nothing else is removed."""

from pathlib import Path

import pytest
import torch

from mmconvnext.checkpoints import whole
from mmconvnext.checkpoints.of_a_run import EVALUATED
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import CheckpointError
from tests.toy_run import toy_runner


def names(folder: Path) -> set[str]:
    files = {p.name for p in folder.iterdir() if p.is_file() and p.suffix != '.py'}
    return files - {EVALUATED}


def edit(path: Path, **info: object) -> None:
    """Put entries into a checkpoint's message hub."""
    content = read_checkpoint(str(path), mapped=False)
    content['message_hub']['runtime_info'] |= info
    content['message_hub']['resumed_keys'] |= dict.fromkeys(info, True)
    torch.save(content, path)


def test_the_newest_are_kept_and_the_last_is_named_relatively(tmp_path: Path) -> None:
    toy_runner(tmp_path, iters=5, checkpoint=dict(max_keep_ckpts=2)).train()
    assert names(tmp_path) == {'iter_4.pth', 'iter_5.pth', 'last_checkpoint'}
    assert (tmp_path / 'last_checkpoint').read_text() == 'iter_5.pth\n'


def test_another_folder_is_named_from_the_work_dir(tmp_path: Path) -> None:
    options = dict(out_dir=str(tmp_path / 'kept'), filename_tmpl='state-{}.pth', max_keep_ckpts=1)
    toy_runner(tmp_path / 'run', iters=2, checkpoint=options).train()
    assert names(tmp_path / 'kept' / 'run') == {'state-2.pth'}
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == '../kept/run/state-2.pth\n'


def test_at_no_moment_is_there_no_checkpoint(tmp_path: Path, monkeypatch) -> None:
    there = []
    save = torch.save

    def look_first(content: object, path: Path) -> None:
        there.append(sorted(p.name for p in tmp_path.glob('*.pth')))
        save(content, path)

    monkeypatch.setattr(torch, 'save', look_first)
    toy_runner(tmp_path, iters=3, checkpoint=dict(max_keep_ckpts=1)).train()
    assert there == [[], ['iter_1.pth'], ['iter_2.pth']]
    assert names(tmp_path) == {'iter_3.pth', 'last_checkpoint'}


def test_a_write_that_fails_removes_nothing(tmp_path: Path, monkeypatch) -> None:
    sync = whole._sync

    def fail_at_the_second(path: Path) -> None:
        if 'iter_2' in path.name:
            raise OSError(28, 'No space left on device')
        sync(path)

    monkeypatch.setattr(whole, '_sync', fail_at_the_second)
    with pytest.raises(
        CheckpointError, match=r'iter_2.pth: could not be written: no space is left'
    ):
        toy_runner(tmp_path, iters=3, checkpoint=dict(max_keep_ckpts=1)).train()
    assert names(tmp_path) == {'iter_1.pth', 'last_checkpoint'}
    assert (tmp_path / 'last_checkpoint').read_text() == 'iter_1.pth\n'


def test_the_best_goes_after_a_better_one_is_complete(tmp_path: Path, monkeypatch) -> None:
    options = dict(save_best='acc', max_keep_ckpts=1)
    there = []
    save = torch.save
    monkeypatch.setattr(
        torch,
        'save',
        lambda content, path: (
            there.append(len(list(tmp_path.glob('best*')))),
            save(content, path),
        ),
    )
    scores = (0.5, 0.7, 0.6)
    toy_runner(tmp_path, iters=3, val_interval=1, scores=scores, checkpoint=options).train()
    assert names(tmp_path) == {'iter_3.pth', 'best_acc_iter_2.pth', 'last_checkpoint'}
    # One write for a checkpoint, one for a best one, and none to tell of it.
    assert there == [0, 0, 1, 1, 1]


def test_going_on_knows_the_best_of_before(tmp_path: Path) -> None:
    options = dict(save_best='acc', max_keep_ckpts=1)
    toy_runner(tmp_path, iters=2, val_interval=1, scores=(0.7, 0.6), checkpoint=options).train()
    tmp_path = tmp_path.rename(tmp_path.with_name('moved'))
    more = dict(iters=4, val_interval=1, checkpoint=options, resume=True)
    toy_runner(tmp_path, scores=(0.65,), **more).train()
    assert names(tmp_path) == {'iter_4.pth', 'best_acc_iter_1.pth', 'last_checkpoint'}
    toy_runner(tmp_path, scores=(0.9,), **{**more, 'iters': 5}).train()
    assert names(tmp_path) == {'iter_5.pth', 'best_acc_iter_5.pth', 'last_checkpoint'}


def test_nothing_that_a_checkpoint_names_is_removed(tmp_path: Path) -> None:
    options = dict(save_best='acc', max_keep_ckpts=1)
    work_dir = tmp_path / 'run'
    toy_runner(work_dir, iters=2, val_interval=1, checkpoint=options).train()
    outside, folder = tmp_path / 'precious.pth', tmp_path / 'best_acc_iter_1.pth'
    outside.write_text('precious')
    folder.mkdir()
    (folder / 'precious').write_text('precious')
    inside = work_dir / 'precious.pth'
    inside.write_text('precious')
    edit(
        work_dir / 'iter_2.pth',
        best_ckpt=str(folder),
        best_score=-1.0,
        last_ckpt=str(outside),
        keep_ckpt_ids=['../precious', '../../x', str(inside), 1, -3, True, {}, 'precious'],
        mid_epoch_ckpt='precious.pth',
    )
    more = dict(iters=4, val_interval=1, scores=(5.0,), checkpoint=options)
    toy_runner(work_dir, resume=True, **more).train()
    assert outside.read_text() == 'precious'
    assert inside.read_text() == 'precious'
    assert (folder / 'precious').read_text() == 'precious'
    assert names(work_dir) == {
        *('iter_2.pth', 'iter_4.pth', 'best_acc_iter_3.pth', 'last_checkpoint', inside.name)
    }


def test_links_and_what_a_killed_run_left(tmp_path: Path) -> None:
    toy_runner(tmp_path, iters=1, checkpoint=dict(max_keep_ckpts=1)).train()
    (tmp_path / '.iter_2.pth.partial').write_bytes(b'half')
    runner = toy_runner(tmp_path, iters=2, checkpoint=dict(max_keep_ckpts=1), resume=True)
    runner.train()
    assert names(tmp_path) == {'iter_2.pth', 'last_checkpoint'}


def test_several_metrics_have_a_best_each(tmp_path: Path) -> None:
    options = dict(save_best=['acc', 'auto/loss'], rule=['greater', 'less'])
    scores = ({'acc': 1.0, 'auto/loss': 3.0}, {'acc': 0.5, 'auto/loss': 2.0})
    toy_runner(tmp_path, iters=2, val_interval=1, scores=scores, checkpoint=options).train()
    assert {n for n in names(tmp_path) if n.startswith('best')} == {
        'best_acc_iter_1.pth',
        'best_auto_loss_iter_2.pth',
    }


def test_the_best_of_a_metric_not_named_is_known_too(tmp_path: Path) -> None:
    options = dict(save_best='auto', rule='greater')
    more = dict(val_interval=1, checkpoint=options)
    toy_runner(tmp_path, epochs=1, scores=(0.9,), **more).train()
    toy_runner(tmp_path, epochs=2, scores=(0.6,), resume=True, **more).train()
    assert 'best_acc_epoch_1.pth' in names(tmp_path)


def test_a_better_one_of_a_part_that_is_trained_again_stays(tmp_path: Path) -> None:
    more = dict(val_interval=1, checkpoint=dict(save_best='acc'))
    toy_runner(tmp_path, iters=4, scores=(0.1, 0.2, 0.3, 0.9), **more).train()
    (tmp_path / 'iter_4.pth').write_bytes(b'cut')
    toy_runner(tmp_path, iters=5, scores=(0.5,), resume=True, **more).train()
    assert 'best_acc_iter_4.pth' in names(tmp_path)


def test_numbers_in_names_may_have_zeros(tmp_path: Path) -> None:
    options = dict(filename_tmpl='state_{:04d}.pth', max_keep_ckpts=1)
    toy_runner(tmp_path, iters=2, checkpoint=options).train()
    toy_runner(tmp_path, iters=3, checkpoint=options, resume=True).train()
    assert names(tmp_path) == {'state_0003.pth', 'last_checkpoint'}
