"""What is installed, what is compiled, what would fail; exit code 1 where something would."""

from mmconvnext.doctor.report import main

if __name__ == '__main__':
    main(__doc__, prog='python -m mmconvnext')
