"""Every command, path and option in the README exists, and in what of docs/ is not run."""

import re
import shlex
import subprocess

import pytest

from tests.conftest import ROOT

README = (ROOT / 'README.md').read_text()
BLOCKS = re.findall(r'```(\w*)\n(.*?)```', README, re.S)
PAGES = '\n'.join(page.read_text() for page in sorted((ROOT / 'docs').glob('*.md')))
UNTRIED = re.findall(r'```sh\n(.*?)```', PAGES, re.S)
COMMANDS = [
    line
    for block in [text for language, text in BLOCKS if language == 'bash'] + UNTRIED
    for line in block.splitlines()
]
PYTHON = [block for language, block in BLOCKS if language == 'python']


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


@pytest.mark.parametrize('block', PYTHON, ids=range(len(PYTHON)))
def test_python_block_runs(block: str) -> None:
    exec(compile(block, 'README.md', 'exec'), {})


def test_every_config_is_in_the_table() -> None:
    listed = set(re.findall(r'\]\(configs/(\w+)\.py\)', README))
    assert listed == {p.stem for p in (ROOT / 'configs').glob('*.py') if 'samples' not in p.stem}
