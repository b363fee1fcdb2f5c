"""What is measured, and against what; python FILE runs each, tools/benchmark.py rivals.py."""
