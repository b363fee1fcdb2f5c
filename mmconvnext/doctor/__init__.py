"""What this environment has, and what would fail in it.

``facts.py`` looks, ``incompatibilities.py`` is what is known to fail, ``problems.py`` puts the two
together, ``report.py`` tells it. Nothing here needs OpenMMLab or torch to be importable.
"""
