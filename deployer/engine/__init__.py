"""The local Docker Engine: the one that runs, or a private one for as long as it is needed."""

from deployer.engine.connect import local_engine, remote_engine
from deployer.engine.engine import Engine, own_arch

__all__ = ["Engine", "local_engine", "own_arch", "remote_engine"]
