import re
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from mmconvnext.data import prepare as preparing
from mmconvnext.data.download import download
from mmconvnext.errors import UserError
from tests.data.archive_files import SMALL_ADE20K, write_archives

CONTENT = bytes(range(200))


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT, or a part of it; the path tells what goes wrong."""

    content = CONTENT

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get('Range'))
        told = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        start = int(told[1]) if told and 'whole' not in self.path else 0
        if self.path == '/none.zip':
            self.send_error(404)
        elif start >= len(self.content):
            self.send_response(416)
            self.send_header('Content-Range', f'bytes */{len(self.content)}')
            self.end_headers()
        else:
            self.send_response(206 if start else 200)
            shift = 1 if 'shifted' in self.path else 0
            last = len(self.content) - 1
            self.send_header('Content-Range', f'bytes {start + shift}-{last}/{last + 1}')
            self.send_header('Content-Length', str(len(self.content) - start))
            self.end_headers()
            end = start + 50 if 'cut' in self.path else None
            self.wfile.write(self.content[start:end])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as httpd:
        httpd.asked = []
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        url = f'http://127.0.0.1:{httpd.server_address[1]}'
        yield SimpleNamespace(url=url, asked=httpd.asked)
        httpd.shutdown()
        thread.join()


def test_downloads_once(server, tmp_path: Path) -> None:
    told = []
    path = tmp_path / 'new/a.zip'
    for _ in range(2):
        download(f'{server.url}/a.zip', path, report=lambda *numbers: told.append(numbers))
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert told == [(200, 200)]
    assert [p.name for p in path.parent.iterdir()] == ['a.zip']


def test_goes_on_where_it_was_cut(server, tmp_path: Path) -> None:
    path = tmp_path / 'a.zip'
    with pytest.raises(UserError, match=r'got 50.*run the command again to continue it'):
        download(f'{server.url}/cut.zip', path)
    assert not path.exists()
    assert (tmp_path / 'a.zip.part').read_bytes() == CONTENT[:50]
    download(f'{server.url}/a.zip', path)
    assert server.asked == [None, 'bytes=50-']
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(('there', 'asked'), [(200, 1), (300, 2)])
def test_a_part_that_is_all_of_it_and_one_that_is_of_another_file(
    server, tmp_path: Path, there: int, asked: int
) -> None:
    (tmp_path / 'a.zip.part').write_bytes((CONTENT * 2)[:there])
    download(f'{server.url}/a.zip', tmp_path / 'a.zip')
    assert (tmp_path / 'a.zip').read_bytes() == CONTENT
    assert len(server.asked) == asked


def test_a_server_without_parts_sends_it_all_again(server, tmp_path: Path) -> None:
    (tmp_path / 'a.zip.part').write_bytes(b'x' * 50)
    download(f'{server.url}/whole.zip', tmp_path / 'a.zip')
    assert (tmp_path / 'a.zip').read_bytes() == CONTENT


def test_another_part_than_was_asked_for_is_not_taken(server, tmp_path: Path) -> None:
    (tmp_path / 'a.zip.part').write_bytes(CONTENT[:50])
    with pytest.raises(UserError, match='expected bytes from 50, the server'):
        download(f'{server.url}/shifted.zip', tmp_path / 'a.zip')
    assert (tmp_path / 'a.zip.part').read_bytes() == CONTENT[:50]


def test_failures_are_one_line(server, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UserError, match=r'404.*put the file at .*a\.zip by hand'):
        download(f'{server.url}/none.zip', tmp_path / 'a.zip')
    with pytest.raises(UserError, match='the download failed'):
        download('http://127.0.0.1:9/a.zip', tmp_path / 'a.zip')
    with FileLock(tmp_path / 'a.zip.lock'), pytest.raises(UserError, match='another process'):
        download(f'{server.url}/a.zip', tmp_path / 'a.zip')
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=100))
    with pytest.raises(UserError, match='GB free'):
        download(f'{server.url}/a.zip', tmp_path / 'a.zip')


def test_prepares_what_it_downloads(server, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / 'served').mkdir()
    (archive,) = write_archives(SMALL_ADE20K, tmp_path / 'served')
    monkeypatch.setattr(Handler, 'content', archive.read_bytes())
    url = f'{server.url}/ADEChallengeData2016.zip'
    dataset = SMALL_ADE20K._replace(archives=(SMALL_ADE20K.archives[0]._replace(url=url),))
    root = tmp_path / 'root'
    assert preparing.prepare(dataset, root, fetch=True)
    assert (root / 'ADEChallengeData2016.zip').is_file()
    assert preparing.prepare(dataset, root, fetch=True)
    assert len(server.asked) == 1
