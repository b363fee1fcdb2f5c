"""Compare facts with known failures: what would fail, and the remedy."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmconvnext.doctor.facts import PROVIDERS, Facts, providers
from mmconvnext.doctor.incompatibilities import (
    CLASHES,
    INCOMPATIBILITIES,
    VARIABLES,
    Incompatibility,
)

try:
    from packaging import requirements

    Requirement: Any = requirements.Requirement
except ModuleNotFoundError:  # then neither mmengine (through matplotlib) nor mmcv is installed
    Requirement = None

_STACK = 'pip install "mmconvnext[openmmlab]"'
_AGAIN = 'pip install --force-reinstall --no-deps'
# Remedies for packages that are installed and cannot be imported.
_REMEDIES = {
    'torch': 'pip install --force-reinstall torch',
    'mmconvnext': f'{_AGAIN} mmconvnext',
    'mmcv': 'most often made for another torch: pip uninstall -y mmcv && pip install '
    'mmcv-lite==2.1.0, or compile it for this one',
    'mmdet': f'detection needs it: {_AGAIN} mmdet==3.3.0',
    'mmseg': f'segmentation needs it: {_AGAIN} mmsegmentation==1.2.2',
    'torchvision': 'optional: pip uninstall torchvision, or the build made for this torch',
}
_NEEDED_BY = {
    'mmengine': 'everything',
    'mmcv': 'everything but the bare backbone',
    'mmdet': 'detection',
    'mmseg': 'segmentation',
}


class Problem(NamedTuple):
    """A failure, certain or possible, described like an :class:`Incompatibility`.

    ``what`` is a distribution, an import name or a variable, with what it clashes with; ``source``
    is '' where it was found by looking.
    """

    what: str
    fails: str
    remedy: str
    source: str = ''
    certain: bool = True


def find_problems(facts: Facts) -> list[Problem]:
    """Return what would fail in an environment, and after it what may fail."""
    found = [
        *_missing(facts),
        *_clashes(facts.versions),
        *_incompatible(facts),
        *_broken(facts),
        *_torch(facts),
        *_variables(facts.variables),
    ]
    return sorted(found, key=lambda problem: not problem.certain)


def _missing(facts: Facts) -> Iterator[Problem]:
    gone = [name for name in _NEEDED_BY if not providers(name, facts.versions)]
    # A person who only segments needs no mmdet, and the other way round.
    optional = {'mmdet', 'mmseg'} if len({'mmdet', 'mmseg'} & set(gone)) == 1 else set()
    for some, certain in ((set(gone) - optional, True), (set(gone) & optional, False)):
        if some:
            names = [name for name in gone if name in some]
            fails = f'not installed; needed by {_NEEDED_BY[names[0]]}'
            yield Problem(', '.join(names), fails, _STACK, certain=certain)
    if _lacks_torch(facts):
        yield Problem('torch', 'not installed; needed by everything', 'pip install "torch>=2.11"')


def _lacks_torch(facts: Facts) -> bool:
    # One that another packager installed may lack the name of a distribution, and work.
    return 'torch' in facts.broken and 'torch' not in facts.versions


def _clashes(versions: Mapping[str, str]) -> Iterator[Problem]:
    for name in PROVIDERS:
        together = providers(name, versions)
        if len(together) > 1:
            clash = CLASHES[name]
            yield Problem(
                ' and '.join(together),
                f'both provide {name}: the one installed last overwrote files of the other',
                f'pip uninstall -y {" ".join(together)} && pip install {clash.install}',
                clash.source,
                clash.certain,
            )


def _incompatible(facts: Facts) -> Iterator[Problem]:
    if Requirement is None and providers('mmengine', facts.versions):
        fails = 'not installed: versions were not compared'
        yield Problem('packaging', fails, 'pip install packaging', certain=False)
    for entry, met in _holding(facts.versions):
        what = ' with '.join(met) + (f' without {entry.absent}' if entry.absent else '')
        yield Problem(what, entry.fails, entry.remedy, entry.source, entry.certain)


def _holding(versions: Mapping[str, str]) -> Iterator[tuple[Incompatibility, list[str]]]:
    """Yield the entries that apply, with the installed versions."""
    for entry in INCOMPATIBILITIES if Requirement else ():
        met = [_met(requirement, versions) for requirement in entry.present]
        if all(met) and entry.absent not in versions:
            yield entry, met


def _met(text: str, versions: Mapping[str, str]) -> str:
    """Return name and version of the distribution that meets a requirement, or ''."""
    requirement = Requirement(text)
    version = versions.get(requirement.name)
    # Builds of torch from its main branch are pre-releases.
    if version is None or not requirement.specifier.contains(version, prereleases=True):
        return ''
    return f'{requirement.name} {version}'


def _broken(facts: Facts) -> Iterator[Problem]:
    told = {entry.breaks for entry, met in _holding(facts.versions)}
    if _lacks_torch(facts):
        told.add('torch')
    # Without torch and mmengine, mmconvnext's own failure is no news.
    if facts.broken.keys() & {'torch', 'mmengine'} or not providers('mmengine', facts.versions):
        told.add('mmconvnext')
    for name, problem in facts.broken.items():
        if name not in told:
            # A broken torchvision is set aside on importing mmconvnext, and nothing here needs it.
            certain = name != 'torchvision'
            message = f'cannot be imported: {problem}'
            yield Problem(name, message, _remedy(name, problem), certain=certain)


def _remedy(name: str, problem: str) -> str:
    if 'mmcv._ext' in problem:
        return _REMEDIES['mmcv']
    gone = re.search(r"No module named '(\w+)", problem)
    if gone and gone[1] not in (name, 'pkg_resources', *_NEEDED_BY):
        return f'pip install {PROVIDERS.get(gone[1], gone.groups())[0]}'
    return _REMEDIES.get(name, f'{_AGAIN} {PROVIDERS.get(name, (name,))[0]}')


def _torch(facts: Facts) -> Iterator[Problem]:
    torch = facts.torch
    if torch and torch.cuda and not torch.gpus:
        yield Problem(
            f'torch {torch.version}',
            f'is built for CUDA {torch.cuda} and finds no GPU: all runs on the CPU',
            'nvidia-smi tells whether the driver answers',
            certain=False,
        )
    if not (facts.wanted_torch and Requirement and 'torchvision' not in facts.broken):
        return
    wanted, version = Requirement(facts.wanted_torch), facts.versions.get('torch', '')
    if version and not wanted.specifier.contains(version, prereleases=True):
        yield Problem(
            f'torchvision {facts.versions.get("torchvision", "")}',
            f'is made for {facts.wanted_torch}, and torch is {version}',
            _REMEDIES['torchvision'],
            certain=False,
        )


def _variables(variables: Mapping[str, str]) -> Iterator[Problem]:
    for name, value in variables.items():
        known = VARIABLES.get(name)
        if known is None:
            near = difflib.get_close_matches(name, VARIABLES, 1)
            hint = f'did you mean {near[0]}?' if near else f'known are {", ".join(VARIABLES)}'
            yield Problem(name, 'nobody reads it', hint, certain=False)
        elif value.lower() in known.refused:
            yield Problem(f'{name}={value}', known.fails, f'unset {name}')
        elif known.values and value not in known.values:
            remedy = f'export {name}={" or ".join(known.values)}'
            yield Problem(f'{name}={value}', known.fails, remedy, certain=False)
