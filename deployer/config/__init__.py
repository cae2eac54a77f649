"""`config/deploy.yml` as frozen values: what to run, where, and behind which proxy."""

from deployer.config.accessory import Accessory, Mount
from deployer.config.connection import Ssh, Sshkit
from deployer.config.delivery import Builder, Credential, Registry
from deployer.config.env import Env
from deployer.config.load import load_config
from deployer.config.model import DeployConfig
from deployer.config.proxy import Certificate, Healthcheck, Proxy
from deployer.config.proxyrun import ProxyRun
from deployer.config.role import Role
from deployer.config.servers import Boot

__all__ = [
    "Accessory",
    "Boot",
    "Builder",
    "Certificate",
    "Credential",
    "DeployConfig",
    "Env",
    "Healthcheck",
    "Mount",
    "Proxy",
    "ProxyRun",
    "Registry",
    "Role",
    "Ssh",
    "Sshkit",
    "load_config",
]
