"""Commands as values: argv, shell fragments and scripts. Nothing here executes."""
