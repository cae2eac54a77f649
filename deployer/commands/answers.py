"""What the proxy does with an answer before a client sees it: a limit, files that the answer names.

An application answers with `X-Sendfile` (a path as it sees it itself) or `X-Accel-Redirect` (the same
path, percent-encoded), and the proxy sends that file from the host's disk with the answer's headers.
A path is looked for below the directory that the file declares, whatever `..` is in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Files = tuple[tuple[str, str], ...]
"""Directories as the container names them, and where they are on the host; the longest first."""

_ANSWER = "http.reverse_proxy.header"
SENDFILE, ACCEL = "X-Sendfile", "X-Accel-Redirect"
# Of the answer that names a file; the file has a length of its own, and its path is nobody's business.
_KEPT_BACK = (SENDFILE, ACCEL, "Content-Length", "Accept-Ranges", "Last-Modified")


def directives(files: Files, limit: int | None) -> Sequence[str]:
    """Lines for the block of `reverse_proxy`; none where there is nothing to do."""
    return [*(_files(files) if files else ()), *(_limit(limit) if limit else ())]


def _files(files: Files) -> list[str]:
    lines = [
        # Rack asks for the kind of header here, and would believe a client in this as well.
        f"header_up X-Sendfile-Type {SENDFILE}",
        "header_up -X-Accel-Mapping",
    ]
    plain, encoded = [], [f"rewrite * {{{_ANSWER}.{ACCEL}}}"]
    for number, (inside, outside) in enumerate(files):
        name = f"sendfile_{number}"
        server = f"\troot * {outside}\n\tfile_server {{\n\t\tdisable_canonical_uris\n\t}}\n"
        plain += [
            f"@{name} vars_regexp {name} {{{_ANSWER}.{SENDFILE}}} ^{re.escape(inside)}/(.+)$",
            f"handle @{name} {{",
            # As a file name: in a URL, `%` and `?` would mean something.
            f"\t@file file {{\n\t\troot {outside}\n\t\ttry_files /{{re.{name}.1}}\n\t}}",
            "\thandle @file {\n\t\trewrite * {http.matchers.file.relative}\n" + _indent(server, 1) + "\t}",
            "\terror 404\n}",
        ]
        encoded += [f"handle_path {inside}/* {{\n{server}}}"]
    for header, routes in ((SENDFILE, plain), (ACCEL, encoded)):
        matcher = f"@{header.lower().replace('-', '_')}"
        body = "\n".join(
            [
                f"copy_response_headers {{\n\texclude {' '.join(_KEPT_BACK)}\n}}",
                # Whatever was asked, a file is read.
                "@other not method GET HEAD",
                "method @other GET",
                *routes,
                "error 403",
            ]
        )
        inner = _indent(body, 2)
        lines += [
            f"{matcher} header {header} *",
            f"handle_response {matcher} {{\n\troute {{\n{inner}\t}}\n}}",
        ]
    return lines


def _limit(limit: int) -> list[str]:
    """An answer that says it is larger is an error. One that comes in pieces says nothing of its length."""
    length = f"{{{_ANSWER}.Content-Length}}"
    return [
        "@measured header Content-Length *",
        "handle_response @measured {\n"
        "\troute {\n"
        f"\t\t@large expression `{{http.request.method}} != 'HEAD' && int({length}) > {limit}`\n"
        "\t\terror @large 500\n"
        "\t\tcopy_response\n"
        "\t}\n"
        "}",
    ]


def _indent(text: str, depth: int) -> str:
    return "".join("\t" * depth + f"{line}\n" for line in text.splitlines())
