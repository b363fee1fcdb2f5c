"""Report what is installed, what is compiled and what would fail; exit code 1 for failures."""

from mmconvnext.doctor.report import main

if __name__ == '__main__':
    main(__doc__, prog='python -m mmconvnext')
