"""The one line that a new version changes."""

VERSION = "v1"
