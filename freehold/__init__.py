"""Foundation of Freehold: errors, YAML with positions, settings, processes, secrets, console."""

__version__ = "0.1.0"
