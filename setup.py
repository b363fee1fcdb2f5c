"""Add the files that mim and its tools expect to the built package, in mmconvnext/.mim.

All metadata is in setup.cfg.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ('configs', 'tools', 'benchmarks', 'model-index.yml')


class BuildWithMim(build_py):
    """build_py that adds the ``.mim`` folder; editable installs read the repository itself."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        root = Path(__file__).parent
        target = Path(self.build_lib) / 'mmconvnext' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = root / name
            if source.is_dir():
                ignored = shutil.ignore_patterns('__pycache__')
                shutil.copytree(source, target / name, ignore=ignored)
            else:
                shutil.copy2(source, target / name)


setup(cmdclass={'build_py': BuildWithMim})
