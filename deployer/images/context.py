"""What a build context must not hold: secrets files that `COPY . .` would put into the image."""

from __future__ import annotations

import fnmatch
from pathlib import Path

FAR = ("git@", "github.com/")
"""How the address of a repository begins that docker clones; others have a scheme."""
SECRETS = (".freehold/secrets*", ".kamal/secrets*")


def far(context: str) -> bool:
    """Whether a context is fetched by the builder, and no folder of this computer."""
    return "://" in context or context.startswith(FAR)


def ignored(path: str, patterns: str) -> bool:
    """Whether the text of a .dockerignore leaves a path out: the last pattern that matches it decides."""
    parts = path.split("/")
    prefixes = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    out = False
    for line in patterns.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        pattern = pattern.lstrip("!").strip("/").removeprefix("./")
        forms = {pattern, pattern.removeprefix("**/")}
        # `*` of a .dockerignore ends at a slash, and a folder that is left out takes its files along.
        hit = any(
            fnmatch.fnmatchcase(prefix, form)
            for prefix in prefixes
            for form in forms
            if form.count("/") == prefix.count("/") or "**" in form
        )
        if hit:
            out = not keep
    return out


def exposed_secrets(context: Path, dockerfile: str = "Dockerfile") -> list[str]:
    """Secrets files in a context that no .dockerignore leaves out."""
    text = ""
    for name in (f"{dockerfile}.dockerignore", ".dockerignore"):
        if (context / name).is_file():
            text = (context / name).read_text(encoding="utf-8", errors="replace")
            break
    found = sorted(
        str(path.relative_to(context))
        for pattern in SECRETS
        for path in context.glob(pattern)
        if path.is_file()
    )
    return [path for path in found if not ignored(path, text)]
