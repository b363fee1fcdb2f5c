import sys
from pathlib import Path

import pytest

from benchmarks.first_contact import CONFIG, PUBLISHED, Contact
from mmconvnext.checkpoints.releases import RELEASES
from tests.conftest import CONFIGS


def test_nothing_of_this_machine_is_used(monkeypatch, tmp_path: Path) -> None:
    for name in ('PIP_CACHE_DIR', 'TORCH_HOME', 'XDG_CACHE_HOME', 'PYTHONPATH', 'VIRTUAL_ENV'):
        monkeypatch.setenv(name, 'of this machine')
    contact = Contact(tmp_path, path='only here')
    assert 'of this machine' not in contact.environment.values()
    assert contact.environment['PATH'] == 'only here'
    assert list(Path(contact.environment['HOME']).iterdir()) == []


def test_parts_are_timed_and_the_image_has_to_be_there(tmp_path: Path) -> None:
    contact = Contact(tmp_path)
    contact.run('slow', sys.executable, '-c', 'import time; time.sleep(.2)')
    contact.run('empty', sys.executable, '-c', 'open("empty.png", "w")')
    assert list(contact.seconds) == ['slow', 'empty']
    assert contact.seconds['slow'][0] > 0.2
    with pytest.raises(SystemExit, match=r'expected an image at \*\.png, found none'):
        contact.require('*.png')
    (tmp_path / 'drawn.png').write_bytes(b'image')
    contact.require('*.png')


def test_the_config_is_that_of_the_published_model() -> None:
    assert f'{RELEASES[Path(PUBLISHED).name].config}.py' == CONFIG
    assert (CONFIGS / CONFIG).is_file()
    assert PUBLISHED in (CONFIGS / CONFIG).read_text()
