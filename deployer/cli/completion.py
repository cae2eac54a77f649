"""`freehold completion`: completion for bash, zsh and fish."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from freehold.command import Context, pass_context


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_context
def completion(context: Context, shell: str) -> None:
    """Print the completion script for SHELL.

    bash: `eval "$(freehold completion bash)"` in ~/.bashrc; zsh likewise in ~/.zshrc;
    fish: `freehold completion fish | source` in its config.
    """
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    context.console.print(found(root, {}, "freehold", "_FREEHOLD_COMPLETE").source())
