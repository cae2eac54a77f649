"""Constant HTTP load on a rehearsal, so that a deploy can be seen to lose nothing."""

from deployer.load.generator import Load
from deployer.load.plan import LoadPlan, Target
from deployer.load.report import Failure, LoadReport

__all__ = ["Failure", "Load", "LoadPlan", "LoadReport", "Target"]
