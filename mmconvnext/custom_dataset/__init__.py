"""A config for data of one's own, made from one that is here."""
