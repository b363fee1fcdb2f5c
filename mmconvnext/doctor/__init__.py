"""Show what is installed in this environment, and what would fail in it.

``facts.py`` collects facts, ``incompatibilities.py`` lists known failures, ``problems.py`` compares
the two, and ``report.py`` prints the result. This package can be imported without OpenMMLab and
torch.
"""
