"""Application images on this computer: which version, building, pushing, base images from a tar file."""

from deployer.images.base import import_tar
from deployer.images.build import build_app
from deployer.images.version import CodeVersion, code_version

__all__ = ["CodeVersion", "build_app", "code_version", "import_tar"]
