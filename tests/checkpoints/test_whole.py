"""A checkpoint is whole or absent, and damage to it is noticed."""

import errno
import os
import random
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mmconvnext.checkpoints import whole
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.checkpoints.whole import (
    remove_partial,
    require_intact,
    save_whole,
    write_text_whole,
)
from mmconvnext.errors import CheckpointError

CONTENT = {
    'state_dict': {'weight': torch.arange(3000.0), 'bias': torch.ones(7)},
    'meta': {'iter': 3},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_whole(CONTENT, tmp_path / 'iter_3.pth')
    return tmp_path / 'iter_3.pth'


def test_what_was_written_is_read(file: Path) -> None:
    again = read_checkpoint(str(file))
    assert again['meta'] == CONTENT['meta']
    assert torch.equal(again['state_dict']['weight'], CONTENT['state_dict']['weight'])
    assert [p.name for p in file.parent.iterdir()] == ['iter_3.pth']


def test_a_write_that_fails_leaves_the_file_before(file: Path, monkeypatch) -> None:
    before = file.read_bytes()

    def save_in_part(content: object, path: Path) -> None:
        path.write_bytes(b'half')
        raise RuntimeError('unexpected pos 640 vs 598')  # what torch says of a full disk

    monkeypatch.setattr(torch, 'save', save_in_part)
    with pytest.raises(CheckpointError, match=r'could not be written .unexpected pos'):
        save_whole(CONTENT, file)
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ['iter_3.pth']


@pytest.mark.parametrize('write', [save_whole, write_text_whole])
def test_the_data_are_on_the_disk_before_the_name(write, tmp_path: Path, monkeypatch) -> None:
    done, descriptors = [], set()

    def sync(descriptor: int) -> None:
        descriptors.add(descriptor)
        done.append(os.fstat(descriptor).st_ino)

    replace = os.replace
    monkeypatch.setattr(os, 'fsync', sync)
    monkeypatch.setattr(os, 'replace', lambda a, b: (done.append('rename'), replace(a, b)))
    write('content', tmp_path / 'a.pth')
    assert done == [(tmp_path / 'a.pth').stat().st_ino, 'rename', tmp_path.stat().st_ino]
    for descriptor in descriptors:
        with pytest.raises(OSError, match='Bad file descriptor'):
            os.fstat(descriptor)


@pytest.mark.parametrize(
    ('of_a_folder', 'number', 'passes'),
    [
        (True, errno.EINVAL, True),
        (True, errno.ENOTSUP, True),
        (True, errno.EIO, False),
        (False, errno.EINVAL, False),
    ],
)
def test_a_folder_need_not_be_flushed_where_that_is_unknown(
    of_a_folder: bool, number: int, passes: bool, tmp_path: Path, monkeypatch
) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_a_folder:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'fsync', sync)
    with nullcontext() if passes else pytest.raises(CheckpointError, match=os.strerror(number)):
        write_text_whole('content', tmp_path / 'a.txt')


@pytest.mark.parametrize(
    ('free', 'number', 'message'),
    [
        (2**20 - 1, errno.EIO, 'no space is left'),
        (2**20, errno.EIO, 'Input/output error'),
        (2**40, errno.ENOSPC, 'no space is left'),
        (2**40, errno.EDQUOT, 'no space is left'),
        (None, errno.EIO, 'Input/output error'),
    ],
)
def test_a_full_disk_is_told_from_a_broken_one(
    free: int | None, number: int, message: str, tmp_path: Path, monkeypatch
) -> None:
    def disk_usage(path: Path) -> SimpleNamespace:
        if free is None:
            raise OSError('unknown')
        return SimpleNamespace(free=free)

    def save(content: object, path: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, 'disk_usage', disk_usage)
    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(CheckpointError, match=f'could not be written.*{message}'):
        save_whole(CONTENT, tmp_path / 'a.pth')


def test_a_check_that_fails_undoes_the_writing(file: Path) -> None:
    before, threads = file.read_bytes(), []

    def check() -> None:
        threads.append(threading.get_ident())
        raise CheckpointError('not finite')

    with pytest.raises(CheckpointError, match='not finite'):
        save_whole({}, file, check)
    assert file.read_bytes() == before
    assert threads != [threading.get_ident()], 'meanwhile'


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / 'small'
    folder.mkdir()
    options = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)]
    if subprocess.run(options, capture_output=True).returncode:
        pytest.skip('a file system of one megabyte takes the right to mount')
    yield folder
    subprocess.run(['umount', '--lazy', str(folder)], check=True)


def test_a_full_disk_leaves_the_file_before_and_no_part(small_disk: Path) -> None:
    path = small_disk / 'iter_1.pth'
    save_whole(CONTENT, path)
    write_text_whole('iter_1.pth\n', small_disk / 'last_checkpoint')
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match='no space is left'):
        save_whole({'state_dict': {'weight': torch.ones(10**6)}}, small_disk / 'iter_2.pth')
    with pytest.raises(CheckpointError, match='no space is left'):
        save_whole({'state_dict': {'weight': torch.ones(10**6)}}, path)
    assert path.read_bytes() == before
    assert {p.name for p in small_disk.iterdir()} == {'iter_1.pth', 'last_checkpoint'}


def test_every_flipped_bit_of_the_data_is_noticed(file: Path) -> None:
    good = file.read_bytes()
    pick = random.Random(0)
    for _ in range(150):
        place, bit = pick.randrange(len(good)), 1 << pick.randrange(8)
        broken = bytearray(good)
        broken[place] ^= bit
        file.write_bytes(broken)
        try:
            again = read_checkpoint(str(file))
        except CheckpointError as error:
            assert str(file) in str(error)  # noqa: PT017 (most raise; a few bits are padding)
        else:
            assert again['meta'] == CONTENT['meta'], place
            assert torch.equal(again['state_dict']['weight'], CONTENT['state_dict']['weight'])
            assert torch.equal(again['state_dict']['bias'], CONTENT['state_dict']['bias'])


def test_a_damaged_tensor_is_named(file: Path) -> None:
    content = file.read_bytes()
    place = content.index(torch.arange(3000.0).numpy().tobytes()) + 400
    file.write_bytes(content[:place] + b'\xff' + content[place + 1 :])
    with pytest.raises(CheckpointError, match=r'damaged: the CRC-32 of data/\d differs'):
        require_intact(file)


@pytest.mark.parametrize('kept', [0, 1, 100, 4000, -1])
def test_a_file_cut_short_is_noticed(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r'iter_3.pth'):
        read_checkpoint(str(file))
    with pytest.raises(CheckpointError, match=r'iter_3.pth: not a complete checkpoint'):
        require_intact(file)


def test_a_changed_file_is_looked_at_again(file: Path) -> None:
    require_intact(file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(3000.0).numpy().tobytes()) + 400] ^= 1
    os.utime(file, ns=(0, 0))
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match='damaged'):
        require_intact(file)


def test_an_unchanged_file_is_read_once(file: Path, monkeypatch) -> None:
    require_intact(file)
    monkeypatch.setattr(whole, 'ZipFile', None)
    require_intact(file)


def test_files_without_crcs_pass(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, tmp_path / 'a.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    require_intact(tmp_path / 'a.pth')


def test_what_a_killed_process_left_is_removed(file: Path) -> None:
    partial = file.with_name('.iter_4.pth.partial')
    partial.write_bytes(b'half')
    assert remove_partial(file.parent) == [partial]
    assert [p.name for p in file.parent.iterdir()] == ['iter_3.pth']


def test_what_another_process_removes_meanwhile_is_no_error(tmp_path: Path, monkeypatch) -> None:
    gone = tmp_path / '.iter_4.pth.partial'
    monkeypatch.setattr(Path, 'glob', lambda *_: [gone])
    assert remove_partial(tmp_path) == [gone]
