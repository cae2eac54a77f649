"""The constants and plain methods of Ruby that templates may use: ENV, File, Dir, YAML, JSON, Dotenv, …"""

from __future__ import annotations

import base64
import json
import os.path
import posixpath
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.config.template.values import Value, text, to_json
from freehold import yamlfile

if TYPE_CHECKING:
    from deployer.config.template.evaluator import Evaluator

Block = Callable[..., Value] | None

CONSTANTS = frozenset(
    {
        *("ENV", "File", "Dir", "YAML", "JSON", "Dotenv", "Base64", "CGI", "URI", "ERB::Util", "Shellwords"),
        *("String", "Array", "Hash", "Integer", "Float", "Numeric", "Symbol", "NilClass"),
        *("TrueClass", "FalseClass"),
    }
)
_LIBRARIES = frozenset(
    {
        *("dotenv", "dotenv/load", "yaml", "psych", "json", "erb", "base64", "cgi", "uri", "shellwords"),
        *("open3", "pathname", "bundler/setup", "time", "date", "securerandom"),
        *("active_support", "active_support/all", "active_support/core_ext"),
    }
)
_CLASSES: dict[str, Any] = {
    "String": str,
    "Symbol": str,
    "Array": list,
    "Hash": dict,
    "Integer": int,
    "Float": float,
    "Numeric": (int, float),
    "NilClass": type(None),
}


@dataclass(frozen=True)
class Module:
    """A constant of Ruby."""

    name: str


def class_name(value: Value) -> str:
    """Ruby's name for the kind of a value."""
    if isinstance(value, bool):
        return text(value)
    return next((name for name, kind in _CLASSES.items() if isinstance(value, kind)), type(value).__name__)


def is_a(value: Value, module: Value) -> bool:
    """Ruby's `is_a?`."""
    if not isinstance(module, Module):
        return False
    if module.name in ("TrueClass", "FalseClass"):
        return value is (module.name == "TrueClass")
    kind = _CLASSES.get(module.name)
    return kind is not None and isinstance(value, kind) and not isinstance(value, bool)


def call(
    run: Evaluator,
    module: Module | None,
    method: str,
    arguments: list[Value],
    named: dict[str, Value],
    block: Block,
) -> Value:
    """Call a method of a constant, or with `module` None a plain one such as `require`."""
    try:
        if module is None:
            return _plain(run, method, arguments)
        if module.name == "ENV":
            return _env(run, method, arguments, block)
        if module.name in ("File", "Dir"):
            return _file(run, module.name, method, arguments, block)
        if module.name in ("YAML", "JSON"):
            return _data(run, module.name, method, arguments)
        if module.name == "Dotenv":
            return _dotenv(run, method, arguments)
        return _encode(run, module.name, method, arguments)
    except OSError as exc:
        run.fail(f"{exc.filename}: {exc.strerror}", "paths are relative to the project")
    except UnicodeDecodeError:
        run.fail(f"{module.name if module else ''}.{method}: the file is not UTF-8 text")
    # The last is what a path of Python's says of a pattern that it does not know.
    except (IndexError, TypeError, ValueError, NotImplementedError) as exc:
        run.fail(f"{f'{module.name}.' if module else ''}{method} was not called as expected: {exc}")


def _unknown(run: Evaluator, name: str) -> Value:
    from deployer.config.template.reader import SUPPORTED

    run.fail(f"{name} is not supported", SUPPORTED)


def _plain(run: Evaluator, method: str, arguments: list[Value]) -> Value:
    if method in ("require", "require_relative"):
        if arguments[0] not in _LIBRARIES:
            run.fail(f"require {arguments[0]!r} is not supported", "Ruby code of the project is not run")
        return _dotenv(run, "load", []) if arguments[0] == "dotenv/load" else True
    if method in ("puts", "print", "p", "warn"):
        run.warnings.append(" ".join(text(argument) for argument in arguments))
        return None
    if method in ("raise", "abort", "fail"):
        message = text(arguments[-1]) if arguments else "the template refuses to go on"
        run.fail(message)
    if method == "system":
        return run.world.run(text(arguments[0]), run.environ).returncode == 0
    if method in ("format", "sprintf"):
        return text(arguments[0]) % tuple(arguments[1:])
    if method == "Integer":
        return int(text(arguments[0]).replace("_", ""))
    if method in ("String", "Array", "Float"):
        value = arguments[0]
        if method == "Array":
            return value if isinstance(value, list) else [] if value is None else [value]
        return text(value) if method == "String" else float(text(value))
    if method == "__dir__":
        return posixpath.dirname(str(run.world.root / run.name))
    if method == "__FILE__":
        return str(run.world.root / run.name)
    return _unknown(run, repr(method))


def _env(run: Evaluator, method: str, arguments: list[Value], block: Block) -> Value:
    env = run.environ
    if method in ("[]", "fetch", "dig"):
        name = text(arguments[0])
        if name in env:
            return env[name]
        if method == "fetch":
            if block is not None:
                return block(name)
            if len(arguments) > 1:
                return arguments[1]
            run.fail(
                f"the environment variable {name} is not set",
                f"set it, or give it a default: ENV.fetch('{name}', '…')",
            )
        run.unset.append((run.line, name))
        return None
    if method in ("key?", "include?", "has_key?", "member?"):
        return text(arguments[0]) in env
    if method == "values_at":
        return [env.get(text(name)) for name in arguments]
    if method == "delete":
        return env.pop(text(arguments[0]), None)
    if method in ("update", "merge!", "replace"):
        env.update({text(key): text(value) for key, value in arguments[0].items()})
        return Module("ENV")
    found = run.send(dict(env), method, arguments, block)
    return Module("ENV") if method in ("each", "each_pair") else found


def _file(run: Evaluator, module: str, method: str, arguments: list[Value], block: Block) -> Value:
    world = run.world
    if module == "Dir" and method in ("pwd", "getwd"):
        return str(world.root)
    if module == "Dir" and method in ("glob", "[]"):
        return sorted(str(path.relative_to(world.root)) for path in world.root.glob(text(arguments[0])))
    if method in ("read", "binread"):
        return world.read(text(arguments[0]))
    if method in ("readlines", "foreach"):
        lines = world.read(text(arguments[0])).splitlines(keepends=True)
        return lines if block is None else run.send(lines, "each", [], block)
    if method in ("exist?", "file?", "directory?"):
        path = world.path(text(arguments[0]))
        kind = "directory?" if module == "Dir" else method
        return path.is_dir() if kind == "directory?" else path.is_file() if kind == "file?" else path.exists()
    if method == "join":
        return posixpath.join(*(text(argument) for argument in arguments))
    if method == "basename":
        name = posixpath.basename(text(arguments[0]))
        suffix = text(arguments[1]) if len(arguments) > 1 else ""
        return name.rpartition(".")[0] or name if suffix == ".*" else name.removesuffix(suffix)
    if method == "dirname":
        return posixpath.dirname(text(arguments[0])) or "."
    if method == "extname":
        return posixpath.splitext(text(arguments[0]))[1]
    if method in ("expand_path", "absolute_path", "realpath"):
        base = world.path(text(arguments[1])) if len(arguments) > 1 else world.root
        return os.path.normpath(base / Path(text(arguments[0])).expanduser())
    return _unknown(run, f"{module}.{method}")


def _data(run: Evaluator, module: str, method: str, arguments: list[Value]) -> Value:
    source = text(arguments[0])
    if module == "JSON":
        if method in ("parse", "load"):
            return json.loads(source)
        if method in ("generate", "dump"):
            return to_json(arguments[0])
    elif method in ("load_file", "safe_load_file", "unsafe_load_file"):
        return yamlfile.parse(run.world.read(source), source, duplicates="last").plain()
    elif method in ("load", "safe_load", "unsafe_load"):
        return yamlfile.parse(source, run.name, duplicates="last").plain()
    return _unknown(run, f"{module}.{method}")


def _dotenv(run: Evaluator, method: str, arguments: list[Value]) -> Value:
    """Dotenv sets what the environment lacks; `overload` sets all; a file that is absent is passed over."""
    from deployer.secrets.dotenv import Command, Text, parse

    if method not in ("load", "overload", "load!", "overload!", "parse", "overwrite"):
        return _unknown(run, f"Dotenv.{method}")
    found: dict[str, Value] = {}
    for name in [text(argument) for argument in arguments] or [".env"]:
        try:
            source = run.world.read(name)
        except FileNotFoundError:
            if method.endswith("!"):
                raise
            continue
        for entry in parse(source, name).entries:
            parts: list[str] = []
            for piece in entry.value:
                if isinstance(piece, Text):
                    parts.append(piece.text)
                elif isinstance(piece, Command):
                    parts.append(run.command(piece.script).rstrip("\n"))
                else:
                    default = "".join(part.text for part in piece.default or () if isinstance(part, Text))
                    parts.append(found.get(piece.name) or run.environ.get(piece.name) or default)
            value = "".join(parts)
            found[entry.name] = value
            if method != "parse" and (method.startswith("over") or entry.name not in run.environ):
                run.environ[entry.name] = value
    return found


def _encode(run: Evaluator, module: str, method: str, arguments: list[Value]) -> Value:
    value = text(arguments[0]) if arguments else ""
    if module == "Base64":
        if method == "strict_encode64":
            return base64.b64encode(value.encode()).decode()
        if method == "urlsafe_encode64":
            return base64.urlsafe_b64encode(value.encode()).decode()
        if method == "encode64":
            return base64.encodebytes(value.encode()).decode()
        if method in ("decode64", "strict_decode64"):
            return base64.b64decode(value).decode()
    if (module, method) in (("CGI", "escape"), ("URI", "encode_www_form_component")):
        return urllib.parse.quote_plus(value)
    if (module, method) in (("ERB::Util", "url_encode"), ("URI", "encode_uri_component")):
        return urllib.parse.quote(value, safe="")
    if (module, method) == ("Shellwords", "escape"):
        import shlex

        return shlex.quote(value)
    return _unknown(run, f"{module}.{method}")
