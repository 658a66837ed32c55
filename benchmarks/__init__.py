"""Measurements of kdsearch's speed and of its choices: each module is a command that prints one table."""
