"""A small application, its images on the hosts of a rig, and a project that deploys it."""
