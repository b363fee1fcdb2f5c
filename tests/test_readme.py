"""The README is short, its paths and options exist, and the Python of all pages runs.

tests/test_docs.py runs the commands. The options of those that it cannot run are checked here.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch

from mmconvnext import ConvNeXt
from tests.conftest import ROOT
from tests.test_docs import as_classifier

README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```(\w*)\n(.*?)```', README, re.S)
PAGES = [page.read_text() for page in sorted((ROOT / 'docs').glob('*.md'))]
UNTRIED = re.findall(r'```sh\n(.*?)```', '\n'.join(PAGES), re.S)
COMMANDS = [
    line
    for block in [text for language, text in BLOCKS if language == 'bash'] + UNTRIED
    for line in block.splitlines()
]
PYTHON = re.findall(r'```python\n(.*?)```', '\n'.join([README, *PAGES]), re.S)


def words(command: str) -> list[str]:
    return [w for w in shlex.split(command, comments=True) if not re.match(r'^[A-Z_]+=', w)]


@pytest.mark.parametrize('command', [c for c in COMMANDS if 'tools/' in c])
def test_tool_command_exists(command: str, run_tool) -> None:
    parts = words(command)
    tool = next(part for part in parts if part.startswith('tools/'))
    assert (ROOT / tool).is_file()
    arguments = parts[parts.index(tool) + 1 :]
    if arguments and arguments[0].startswith('configs/'):
        assert (ROOT / arguments[0]).is_file(), arguments[0]
    script = tool if tool.endswith('.py') else tool.replace('dist_', '').replace('.sh', '.py')
    known = run_tool(script, '--help').stdout
    for option in (a.split('=')[0] for a in arguments if a.startswith('--')):
        assert option in known, f'{option} of {tool}'


@pytest.mark.parametrize('command', [c for c in COMMANDS if c.startswith('make ')])
def test_make_target_exists(command: str) -> None:
    subprocess.run(['make', '--dry-run', *words(command)[1:]], cwd=ROOT, check=True)


@pytest.mark.parametrize('link', re.findall(r'\]\((?!http|#)([^)]+)\)', README))
def test_linked_file_exists(link: str) -> None:
    assert (ROOT / link.partition('#')[0]).exists(), link


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights that the pages load, random ones, where a download would be."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    file = tmp_path / 'checkpoints/convnext_tiny_22k_224.pth'
    torch.save({'model': as_classifier(ConvNeXt('tiny').state_dict())}, file)


@pytest.mark.usefixtures('published')
@pytest.mark.parametrize('block', PYTHON, ids=range(len(PYTHON)))
def test_python_block_runs(block: str) -> None:
    exec(compile(block, 'page', 'exec'), {})


def test_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_every_config_is_on_a_page() -> None:
    listed = set(re.findall(r'configs/(\w+)\.py', '\n'.join(PAGES)))
    assert listed >= {p.stem for p in (ROOT / 'configs').glob('*.py') if 'samples' not in p.stem}
