"""What tools/train.py and tools/test.py share: a config, the options and the machine."""
