"""`freehold app …`: the application's containers. Each command is imported when it is called for."""

from __future__ import annotations

import click

from freehold.command import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy={
        "boot": ("deployer.cli.appchange:boot", "Start a version again with the configuration of now."),
        "start": ("deployer.cli.appchange:start", "Start the containers of the version that served last."),
        "stop": ("deployer.cli.appchange:stop", "Stop the application's containers."),
        "details": ("deployer.cli.appread:details", "Show the containers of the application."),
        "containers": ("deployer.cli.appread:containers", "Show all its containers, running or not."),
        "images": ("deployer.cli.appread:images", "Show the images of the application."),
        "version": ("deployer.cli.appread:version", "Show the version that serves on every host."),
        "stale_containers": ("deployer.cli.appread:stale_containers", "Find containers that nobody needs."),
        "logs": ("deployer.cli.applogs:logs", "Show what the application writes."),
        "exec": ("deployer.cli.appexec:exec_", "Run a command in a container of the application."),
        "maintenance": ("deployer.cli.traffic:maintenance", "Answer every request by 503 and a page."),
        "live": ("deployer.cli.traffic:live", "End the maintenance."),
        "pause": ("deployer.cli.traffic:pause", "Let requests wait."),
        "resume": ("deployer.cli.traffic:resume", "Let the waiting requests go on."),
        "remove": ("deployer.cli.appremove:remove", "Remove the application from the hosts."),
        "remove_container": ("deployer.cli.appremove:remove_container", "Remove a version's container."),
        "remove_containers": ("deployer.cli.appremove:remove_containers", "Remove its stopped containers."),
        "remove_app_directories": (
            "deployer.cli.appremove:remove_app_directories",
            "Remove its files where no container is left.",
        ),
        "remove_images": ("deployer.cli.appremove:remove_images", "Remove its images that nothing uses."),
    },
)
def app() -> None:
    """Look into the application's containers and handle them."""
