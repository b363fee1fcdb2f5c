from pathlib import Path

from mmconvnext.data.official import ADE20K
from tests.data.archive_files import SMALL_ADE20K, write_archives, write_zip


def test_without_archive_it_tells_what_to_download(run_tool, tmp_path: Path) -> None:
    result = run_tool('tools/prepare_ade20k.py', '--data-root', tmp_path / 'ade')
    assert result.returncode == 1
    place = tmp_path / 'ade/ADEChallengeData2016.zip'
    assert f'{ADE20K.archives[0].url} (about 967 MB) to {place}' in result.stdout
    assert '20,210' in result.stdout
    assert 'error' not in result.stderr
    assert not (tmp_path / 'ade').exists()


def test_unpacks_and_says_which_numbers_differ(run_tool, tmp_path: Path) -> None:
    (archive,) = write_archives(SMALL_ADE20K, tmp_path)
    result = run_tool('tools/prepare_ade20k.py', archive, '--data-root', tmp_path / 'ade')
    assert result.returncode == 1
    assert f'{archive}: 8 files unpacked' in result.stdout
    assert '2 ← differs' in result.stdout
    assert 'Traceback' not in result.stderr
    assert (tmp_path / 'ade/ADEChallengeData2016/images/training/000000000001.jpg').is_file()


def test_another_archive_is_one_line(run_tool, tmp_path: Path) -> None:
    archive = write_zip(tmp_path / 'ADEChallengeData2016.zip', {'other/a.jpg': b'a'})
    result = run_tool('tools/prepare_ade20k.py', archive, '--data-root', tmp_path / 'ade')
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    assert line.startswith(f'error: {archive}: expected ADEChallengeData2016.zip')
    assert 'got a zip file of other' in line
