"""Secrets: files of names whose values come from the environment, commands and password managers."""

from deployer.secrets.load import load_secrets
from deployer.secrets.store import Secrets

__all__ = ["Secrets", "load_secrets"]
