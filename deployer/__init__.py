"""Puts Docker containers on hosts over SSH, with zero downtime; and the `freehold` command line."""
