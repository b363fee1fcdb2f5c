from pathlib import Path

from mmconvnext.data.official import COCO
from tests.data.archive_files import SMALL_COCO, write_archives


def test_tells_what_is_missing_after_what_was_given(run_tool, tmp_path: Path) -> None:
    train, val, _ = write_archives(SMALL_COCO, tmp_path)
    root = tmp_path / 'coco'
    result = run_tool('tools/prepare_coco.py', val, train, '--data-root', root)
    assert result.returncode == 1
    assert (root / 'val2017/000000000001.jpg').is_file()
    for archive in COCO.archives:
        assert f'{archive.url} (about ' in result.stdout
    assert '118,287' in result.stdout
    assert 'Traceback' not in result.stderr
