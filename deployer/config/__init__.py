"""`config/deploy.yml` as frozen values: what to run, where, and behind which proxy."""

from deployer.config.load import load_config
from deployer.config.model import DeployConfig, Env, Healthcheck, Proxy, Role, Ssh

__all__ = ["DeployConfig", "Env", "Healthcheck", "Proxy", "Role", "Ssh", "load_config"]
