"""What others need who join: workflows, hooks, the citation, all in step with the project."""

import re
from configparser import ConfigParser

import yaml

import mmconvnext
from tests.conftest import ROOT


def read(path: str) -> str:
    return (ROOT / path).read_text()


def targets() -> set[str]:
    """What make can be asked for."""
    return set(re.findall(r'^([a-z.][\w./-]*):', read('Makefile'), re.MULTILINE))


def test_workflows_run_what_there_is() -> None:
    for path in (ROOT / '.github/workflows').glob('*.yml'):
        jobs = yaml.safe_load(path.read_text())['jobs']
        steps = [step['run'] for job in jobs.values() for step in job['steps'] if 'run' in step]
        assert steps
        for command in steps:
            first, *words = command.split()
            if first == 'make':
                assert set(words) <= targets(), command
            elif '-c' not in words:
                folders = [word for word in words if word.startswith('tests/')]
                assert folders
                assert all((ROOT / folder).is_dir() for folder in folders)


def test_workflows_try_the_pythons_of_the_package() -> None:
    setup = ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    classifiers = setup['metadata']['classifiers']
    pythons = re.findall(r'Python :: (3\.\d+)', classifiers)
    workflow = yaml.safe_load(read('.github/workflows/tests.yml'))
    assert workflow['jobs']['linux']['strategy']['matrix']['python-version'] == pythons


def test_hooks_run_what_make_lint_runs() -> None:
    (repository,) = yaml.safe_load(read('.pre-commit-config.yaml'))['repos']
    entries = {hook['entry'].split()[0].removeprefix('.venv/bin/') for hook in repository['hooks']}
    assert entries == {'ruff', 'lint-imports', 'mypy'}
    lint = re.search(r'^lint:.*\n((?:\t.*\n)+)', read('Makefile'), re.MULTILINE)[1]
    assert all(f'$(BIN)/{entry}' in lint for entry in entries)


def test_the_citation_is_of_this_version_and_licence() -> None:
    citation = yaml.safe_load(read('CITATION.cff'))
    assert citation['version'] == mmconvnext.__version__
    assert citation['license'] == 'Apache-2.0'
    papers = {one['url'] for one in citation['references']}
    metafile = yaml.safe_load(read('configs/metafile.yml'))
    assert papers == {one['Paper'] for one in metafile['Collections']}


def test_lint_and_docs_are_pinned_as_setup_says() -> None:
    setup = ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    pins = set(read('requirements/constraints.txt').splitlines())
    extras = setup['options.extras_require']
    assert {*extras['lint'].split(), *extras['docs'].split()} <= pins
