import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file

from mmconvnext.checkpoints.fetch import cache_path, fetch
from mmconvnext.checkpoints.read import read_checkpoint
from mmconvnext.errors import CheckpointError


class Handler(SimpleHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path == '/cut.pth':  # announces more than it sends
            self.send_response(200)
            self.send_header('Content-Length', '1000')
            self.end_headers()
            self.wfile.write(b'x' * 10)
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """A web server on this machine: its address and its folder; the cache is a new one."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    Handler.requests.clear()
    with ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Handler, directory=folder)
    ) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{httpd.server_address[1]}', folder
        httpd.shutdown()
        thread.join()


def test_downloads_once(server) -> None:
    url, folder = server
    (folder / 'a.pth').write_bytes(b'weights')
    path = fetch(f'{url}/a.pth', progress=False)
    assert path == cache_path(f'{url}/a.pth')
    assert path.read_bytes() == b'weights'
    assert fetch(f'{url}/a.pth', progress=False) == path
    assert Handler.requests == ['/a.pth']


def test_checks_the_hash_in_the_name(server) -> None:
    url, folder = server
    digest = hashlib.sha256(b'weights').hexdigest()[:8]
    (folder / f'good-{digest}.pth').write_bytes(b'weights')
    (folder / f'bad-{digest}.pth').write_bytes(b'other')
    assert fetch(f'{url}/good-{digest}.pth', progress=False).read_bytes() == b'weights'
    with pytest.raises(CheckpointError, match=f'expected a SHA-256 of {digest}'):
        fetch(f'{url}/bad-{digest}.pth', progress=False)
    assert not cache_path(f'{url}/bad-{digest}.pth').exists()


def test_checks_a_given_hash(server) -> None:
    url, folder = server
    (folder / 'a.pth').write_bytes(b'weights')
    with pytest.raises(CheckpointError, match='expected a SHA-256 of abcd, got'):
        fetch(f'{url}/a.pth', sha256='abcd', progress=False)
    assert not cache_path(f'{url}/a.pth').exists()
    digest = hashlib.sha256(b'weights').hexdigest()
    path = fetch(f'{url}/a.pth', sha256=digest.upper(), progress=False)
    for there in (f'{url}/a.pth', str(path)):
        with pytest.raises(CheckpointError, match=r'a\.pth: expected a SHA-256 of abcd, got'):
            fetch(there, sha256='abcd')


def test_files_of_one_name_are_told_apart(server) -> None:
    url, folder = server
    for name in ('one', 'two'):
        (folder / name).mkdir()
        (folder / name / 'model.bin').write_text(name)
    paths = [fetch(f'{url}/{name}/model.bin', progress=False) for name in ('one', 'two')]
    assert [path.read_text() for path in paths] == ['one', 'two']
    assert [fetch(f'{url}/{name}/model.bin') for name in ('one', 'two')] == paths
    assert len(Handler.requests) == 2


def test_a_web_page_does_not_stay_in_the_cache(server) -> None:
    url, folder = server
    (folder / 'a.pth').write_text('<html>sign in</html>')
    with pytest.raises(CheckpointError, match=r'it is a web page.*the download was removed from'):
        read_checkpoint(f'{url}/a.pth')
    torch.save({'a': torch.ones(1)}, folder / 'a.pth')
    assert read_checkpoint(f'{url}/a.pth')['a'] == 1


@pytest.mark.parametrize(
    'name', ['a-20220227.pth', 'iter-00160000.pth', 'a-00000001-of-00000002.safetensors']
)
def test_a_date_or_a_counter_is_no_hash(server, name: str) -> None:
    url, folder = server
    (folder / name).write_text('weights')
    assert fetch(f'{url}/{name}', progress=False).is_file()


def test_shards_are_asked_for_as_their_index_was(server) -> None:
    url, folder = server
    save_file({'a': torch.ones(1)}, folder / 'b.safetensors')
    index = 'model.safetensors.index.json'
    (folder / index).write_text('{"weight_map": {"a": "b.safetensors"}}')
    assert read_checkpoint(f'{url}/{index}?download=true')['a'] == 1
    assert Handler.requests == [f'/{index}?download=true', '/b.safetensors?download=true']


def test_a_file_put_there_by_hand_is_taken(server) -> None:
    url, _ = server
    path = cache_path(f'{url}/a.pth')
    path.parent.mkdir(parents=True)
    path.write_text('mine')
    assert fetch(f'{url}/a.pth').read_text() == 'mine'
    assert not Handler.requests


def test_a_failed_download_names_the_remedy_and_leaves_nothing(server) -> None:
    url, _ = server
    with pytest.raises(CheckpointError, match=r'404.*put the file at .*none\.pth by hand'):
        fetch(f'{url}/none.pth', progress=False)
    assert not cache_path(f'{url}/none.pth').exists()


def test_a_download_cut_short_never_stays_in_the_cache(server) -> None:
    url, _ = server
    with pytest.raises(CheckpointError, match='expected 1000 bytes, got 10'):
        fetch(f'{url}/cut.pth', progress=False)
    left = [p.name for p in cache_path(f'{url}/cut.pth').parent.iterdir()]
    assert [name for name in left if not name.endswith('.lock')] == []


@pytest.mark.parametrize('url', ['http://127.0.0.1:9/a.pth', 'http://bad host/a.pth'])
def test_no_network_and_no_address(url: str, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    with pytest.raises(CheckpointError, match='the download failed'):
        fetch(url, progress=False)
    with pytest.raises(CheckpointError, match='expected the address of a file'):
        fetch('http://127.0.0.1:9/', progress=False)


def test_an_unwritable_cache_gets_an_answer(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'file'))
    with pytest.raises(CheckpointError, match='the download failed'):
        fetch('http://127.0.0.1:9/a.pth', progress=False)


def test_a_local_path_must_exist(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='no such checkpoint file'):
        fetch(str(tmp_path / 'none.pth'))
