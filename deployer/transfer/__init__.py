"""Images to hosts over SSH: only the layers that a host lacks, resumed after a break, verified."""

from deployer.transfer import spread
from deployer.transfer.facts import FACTS, HostImages, parse_facts
from deployer.transfer.image import LocalImage, inspect_image
from deployer.transfer.layers import LayerStore
from deployer.transfer.plan import Plan
from deployer.transfer.send import Channel, Outcome, StreamResult, Transfer

__all__ = [
    "FACTS",
    "Channel",
    "HostImages",
    "LayerStore",
    "LocalImage",
    "Outcome",
    "Plan",
    "StreamResult",
    "Transfer",
    "inspect_image",
    "parse_facts",
    "spread",
]
