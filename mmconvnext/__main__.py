"""``python -m mmconvnext``: what is installed, what is compiled, what would fail."""

import argparse

from mmconvnext.environment import describe

if __name__ == '__main__':
    argparse.ArgumentParser(prog='python -m mmconvnext', description=__doc__).parse_args()
    for line in describe():
        print(line)
