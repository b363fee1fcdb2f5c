import shutil
import stat
import struct
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pytest

from mmconvnext.data.archives import unpack
from mmconvnext.errors import UserError
from tests.data.archive_files import write_zip

PICTURES = {'set/a.jpg': b'aaa' * 7, 'set/deep/b.jpg': b'bbb' * 9, 'other/c.jpg': b'c'}


def files_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob('*') if p.is_file())


def test_unpacks_its_folder_and_nothing_else(tmp_path: Path) -> None:
    archive, done = write_zip(tmp_path / 'a.zip', PICTURES), []
    written = unpack(
        archive, tmp_path / 'root', folder='set', report=lambda *numbers: done.append(numbers)
    )
    assert written == 2
    assert files_below(tmp_path / 'root') == ['set/a.jpg', 'set/deep/b.jpg']
    assert (tmp_path / 'root/set/deep/b.jpg').read_bytes() == b'bbb' * 9
    assert done == [(21, 48), (48, 48)]


def test_what_is_there_is_left_and_what_is_half_there_is_completed(tmp_path: Path) -> None:
    archive, root = write_zip(tmp_path / 'a.zip', PICTURES), tmp_path / 'root'
    unpack(archive, root, folder='set')
    (root / 'set/a.jpg').write_bytes(b'x' * 21)  # of the right size: it is not looked into
    (root / 'set/deep/b.jpg').write_bytes(b'half')
    assert unpack(archive, root, folder='set') == 1
    assert (root / 'set/a.jpg').read_bytes() == b'x' * 21
    assert (root / 'set/deep/b.jpg').read_bytes() == b'bbb' * 9
    assert unpack(archive, root, folder='set') == 0


def link(name: str) -> ZipInfo:
    info = ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ('member', 'problem'),
    [
        ('../outside.jpg', 'leaves its folder'),
        ('set/../../outside.jpg', 'leaves its folder'),
        ('/etc/outside.jpg', 'absolute'),
        ('C:/outside.jpg', 'absolute'),
        ('set\\..\\outside.jpg', 'foreign'),
        (link('set/link'), 'is not a file'),
        ('set/a.jpg', 'occurs twice'),
    ],
    ids=str,
)
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_harmful_members_are_refused_before_anything_is_written(
    tmp_path: Path, member: str | ZipInfo, problem: str
) -> None:
    archive = write_zip(tmp_path / 'a.zip', PICTURES)
    with ZipFile(archive, 'a') as file:
        file.writestr(member, b'content')
    with pytest.raises(UserError, match=f'refused, nothing was written: .*{problem}'):
        unpack(archive, tmp_path / 'root/below', folder='set')
    assert files_below(tmp_path) == ['a.zip']


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / 'a.zip', {'set/a.jpg': b'content'})
    content = bytearray(archive.read_bytes())
    content[content.rindex(b'PK\x01\x02') + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match='is encrypted'):
        unpack(archive, tmp_path / 'root', folder='set')


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / 'a.zip', {'set/a.jpg': bytes(1 << 20)})
    with pytest.raises(UserError, match='bytes claim to unpack to 1048576'):
        unpack(archive, tmp_path / 'root', folder='set')
    assert files_below(tmp_path) == ['a.zip']


def test_a_member_never_gives_more_bytes_than_the_table_says(tmp_path: Path) -> None:
    archive = tmp_path / 'a.zip'
    with ZipFile(archive, 'w', ZIP_DEFLATED) as file:
        file.writestr('set/a.jpg', bytes(1 << 20))
    content = bytearray(archive.read_bytes())
    table = content.rindex(b'PK\x01\x02')
    content[table + 24 : table + 28] = struct.pack('<I', 9)  # the size unpacked
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r'set/a\.jpg in it is broken'):
        unpack(archive, tmp_path / 'root', folder='set')
    assert files_below(tmp_path) == ['a.zip']


def test_a_broken_member_is_named_and_what_came_before_stays(tmp_path: Path) -> None:
    archive, root = write_zip(tmp_path / 'a.zip', PICTURES), tmp_path / 'root'
    content = archive.read_bytes()
    with ZipFile(archive) as file:
        offset = file.getinfo('set/deep/b.jpg').header_offset + 30 + len('set/deep/b.jpg')
    archive.write_bytes(content[:offset] + b'\xff' * 4 + content[offset + 4 :])
    with pytest.raises(UserError, match=r'set/deep/b\.jpg in it is broken .*download it again'):
        unpack(archive, root, folder='set')
    assert files_below(root) == ['set/a.jpg']
    archive.write_bytes(content)
    assert unpack(archive, root, folder='set') == 1


@pytest.mark.parametrize('content', [b'', b'<html>sign in</html>', None, 'half'])
def test_no_zip_file(tmp_path: Path, content: bytes | str | None) -> None:
    archive = write_zip(tmp_path / 'a.zip', PICTURES)
    if content == 'half':
        archive.write_bytes(archive.read_bytes()[:-40])
    elif content is None:
        archive.unlink()
    else:
        archive.write_bytes(content)
    with pytest.raises(UserError, match=r'a\.zip: expected a (complete )?zip file'):
        unpack(archive, tmp_path / 'root', folder='set')


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    archive = write_zip(tmp_path / 'a.zip', PICTURES)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=47))
    with pytest.raises(UserError, match='GB free on its disk'):
        unpack(archive, tmp_path / 'root', folder='set')
    assert not (tmp_path / 'root').exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / 'a.zip', PICTURES)
    (tmp_path / 'root').write_text('a file')
    with pytest.raises(UserError, match='could not be written'):
        unpack(archive, tmp_path / 'root', folder='set')
