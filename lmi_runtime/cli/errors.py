"""What the command line says no to."""

__all__ = ["CliError"]


class CliError(Exception):
    """The command cannot be carried out; the text says what to change."""
