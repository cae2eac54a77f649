"""Google Cloud Secret Manager by the program `gcloud`.

`--account` is `user`, `default`, or either with `|service-account` to impersonate. Names are
`[project/]secret[/version]`; project `default` is gcloud's own, the version is `latest` if absent.
"""

from __future__ import annotations

import base64
import json

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import ProcessError, UsageError

NEEDS_ACCOUNT = True

ACCOUNTS = ("gcloud", "auth", "list", "--format=json")
LOGIN = ("gcloud", "auth", "login")


def parts(name: str) -> tuple[str, str, str]:
    """Project, secret and version of a name."""
    words = name.split("/")
    if len(words) == 1:
        words.insert(0, "default")
    return words[0], words[1], words[2] if len(words) > 2 else "latest"


def access_command(name: str, account: str) -> tuple[str, ...]:
    """Prints a version of a secret as JSON."""
    project, secret, version = parts(name)
    user, _, service_account = account.partition("|")
    words = ["gcloud", "secrets", "versions", "access", version, f"--secret={secret}"]
    if project != "default":
        words.append(f"--project={project}")
    if user != "default":
        words.append(f"--account={user}")
    if service_account:
        words.append(f"--impersonate-service-account={service_account}")
    return (*words, "--format=json")


def value(output: str) -> str:
    """The secret's text, which gcloud prints in URL-safe base64."""
    data = str(json.loads(output)["payload"]["data"])
    return base64.urlsafe_b64decode(
        data.replace("+", "-").replace("/", "_") + "=" * (-len(data) % 4)
    ).decode()


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Log in where nobody is, and read each secret."""
    if not json.loads(vault.run(ACCOUNTS).stdout):
        vault.run(LOGIN, interactive=True)
        if not json.loads(vault.run(ACCOUNTS).stdout):
            raise ProcessError("gcloud has no account", hint="run `gcloud auth login` by hand")
    found: dict[str, str] = {}
    for name in wanted.prefixed:
        project, secret, _ = parts(name)
        if f"{project}/{secret}" in found:
            raise UsageError(
                f"{project}/{secret} is asked for twice, and called the same in any version",
                hint="write a `secrets fetch` for each version",
            )
        done = vault.run(access_command(name, wanted.account or "default"))
        found[f"{project}/{secret}"] = value(done.stdout)
    return found
