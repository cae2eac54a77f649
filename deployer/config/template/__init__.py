"""Templates in configuration files: ERB as Kamal's users write it, and Jinja2 as the native way."""

from deployer.config.template.output import Rendered
from deployer.config.template.render import Source, render

__all__ = ["Rendered", "Source", "render"]
