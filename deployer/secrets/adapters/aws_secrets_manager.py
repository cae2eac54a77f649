"""AWS Secrets Manager by the program `aws`; `--account` is a profile.

Names are names of secrets. One whose value is a JSON object gives `name/key` for each key.
A binary secret is taken where it is text.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence

from deployer.secrets.vault import Vault, Wanted
from freehold.errors import ProcessError

NEEDS_ACCOUNT = False


def get_command(names: Sequence[str], profile: str | None) -> tuple[str, ...]:
    """Prints several secrets as JSON."""
    account = ("--profile", profile) if profile else ()
    batch = ("aws", "secretsmanager", "batch-get-secret-value", "--secret-id-list", *names)
    return (*batch, *account, "--output", "json")


def values(output: str) -> dict[str, str]:
    """Values by name, or by `name/key`; ProcessError with what AWS says of those it refused."""
    parsed = json.loads(output)
    errors = parsed.get("Errors") or []
    if errors:
        told = [f"{error.get('SecretId')}: {error.get('Message')}" for error in errors]
        raise ProcessError("AWS Secrets Manager refused some secrets", details=told, hint="; ".join(told))
    found: dict[str, str] = {}
    for secret in parsed.get("SecretValues", []):
        name, text = str(secret["Name"]), _content(secret)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if isinstance(value, dict):
            found.update({f"{name}/{key}": _text(item) for key, item in value.items()})
        else:
            found[name] = text if not isinstance(value, str) else value
    return found


def _content(secret: Mapping[str, str]) -> str:
    """The text of a secret; one that was stored as bytes has it in base64."""
    if "SecretString" in secret:
        return str(secret["SecretString"])
    try:
        return base64.b64decode(secret["SecretBinary"]).decode()
    except UnicodeDecodeError as exc:
        raise ProcessError(
            f"the secret {secret['Name']} of AWS Secrets Manager holds bytes that are no UTF-8 text",
            hint="store it as text, for example in base64",
        ) from exc


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def fetch(wanted: Wanted, vault: Vault) -> dict[str, str]:
    """Read all secrets at once."""
    return values(vault.run(get_command(wanted.prefixed, wanted.account)).stdout)
