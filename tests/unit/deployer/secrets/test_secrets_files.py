"""Secrets files with the real shell: which are read, what is evaluated, what errors say."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from deployer.secrets import Secrets, load_secrets
from deployer.secrets.dotenv import parse
from deployer.secrets.vault import extract, parse_fetch
from freehold.errors import ConfigError
from freehold.process import LocalRunner

BESIDE = Path(__file__).parents[5] / "shared" / "corpus" / "kamal"
CORPUS = Path(os.environ.get("FREEHOLD_CORPUS") or BESIDE)
ENV = {"PATH": "/usr/bin:/bin", "OUTER": "outer value", "EMPTY": ""}


def load(root: Path, destination: str | None = None, **files: str) -> Secrets:
    for name, text in files.items():
        path = root / ".kamal" / name.replace("__", ".").replace("_", "-")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return load_secrets(root, destination, ENV, LocalRunner())


def plain(secrets: Secrets) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in secrets.all().items()}


def test_values(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    found = load(
        tmp_path,
        secrets="A=$OUTER\nB=$(cat key)\nC=${MISSING:-$(cat key)}\nD=${EMPTY:-d}${EMPTY-e}\nE=pre-$B-post\n"
        'F=$(printenv OUTER || cat nothing)\nG=$(cat nothing 2>/dev/null)\nH=$(echo "$B" | tr a-z A-Z)\n'
        "I='$B'\nJ=$(printf 'a\\nb\\n\\n')\n",
    )
    assert plain(found) == {
        "A": "outer value",
        "B": "s3cret",
        "C": "s3cret",
        "D": "d",
        "E": "pre-s3cret-post",
        "F": "outer value",
        "G": "",
        "H": "S3CRET",
        "I": "$B",
        "J": "a\nb",
    }


def test_values_reach_commands_as_variables_not_as_text(tmp_path: Path) -> None:
    """A value with quotes, parentheses and line breaks neither breaks nor runs."""
    found = load(
        tmp_path,
        secrets='RAW=\'a"b;(c) $(touch pwned)\n`x` {"k": "v"}\'\nA=$(printf %s "$RAW")\n'
        "B=$(printf %s '$RAW')\nC=$(echo x y | awk '{print $2}')\n",
    )
    raw = 'a"b;(c) $(touch pwned)\n`x` {"k": "v"}'
    assert plain(found) == {"RAW": raw, "A": raw, "B": raw, "C": "y"}
    assert not (tmp_path / "pwned").exists()


def test_only_what_is_asked_for_runs(tmp_path: Path) -> None:
    found = load(tmp_path, secrets="A=$(touch a; echo 1)\nB=$(touch b; echo 2)\nC=$B$B\n")
    assert list(tmp_path.glob("[ab]")) == []
    assert found("C").reveal() == "22"
    assert [path.name for path in tmp_path.glob("[ab]")] == ["b"]
    (tmp_path / "b").unlink()
    assert found("C").reveal() == "22"
    assert list(tmp_path.glob("[ab]")) == []


def test_later_lines_and_files_win_and_see_what_stands_above(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        "eu",
        secrets_common="A=common\nB=$A\nA=$A-2\n",
        secrets__eu="C=$A\nA=eu\n",
        secrets="A=plain\n",
    )
    assert plain(found) == {"A": "eu", "B": "common", "C": "common-2"}
    assert found.files == (".kamal/secrets-common", ".kamal/secrets.eu")


def test_the_native_place_comes_first(tmp_path: Path) -> None:
    (tmp_path / ".freehold").mkdir()
    (tmp_path / ".freehold/secrets").write_text("A=native\n")
    found = load(tmp_path, secrets="A=kamal\n")
    assert plain(found) == {"A": "native"}
    assert found.warnings == (
        ".kamal/secrets is not read, as there is .freehold/secrets; keep all secrets in one place",
    )
    assert load(tmp_path, "eu", secrets__eu="A=kamal\n").warnings == ()


def test_the_destination_is_known_to_commands(tmp_path: Path) -> None:
    found = load(tmp_path, "eu", secrets_common="A=$KAMAL_DESTINATION\nB=$(echo key.$KAMAL_DESTINATION)\n")
    assert plain(found) == {"A": "eu", "B": "key.eu"}


def test_a_variable_that_is_not_set_is_told_when_its_secret_is_used(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        secrets="A=$OUTER$EMPTY\nB=x$GONE\nC=${GONE:-d}${GONE-}$B\nD=1\nE=$(kamal secrets extract A $LOST)\n",
    )
    told: list[str] = []
    assert found("C").reveal() == "dx"
    found.listen(told.append)
    said = ".kamal/secrets:2 the variable GONE is not set; its place in the secret B is empty"
    assert told == [said]
    assert found("A").reveal() == "outer value"
    assert found("B").reveal() == "x"
    assert told == [said]
    with pytest.raises(ConfigError):
        found("E")
    assert told[1:] == [".kamal/secrets:5 the variable LOST is not set; its place in the secret E is empty"]


@pytest.mark.parametrize(
    ("files", "message", "hint"),
    [
        (
            {},
            "'TOKEN', which env.secret asks for, is not defined: there is no secrets file",
            ".freehold/secrets",
        ),
        ({"secrets": "TOKNE=1\n"}, "is not in .kamal/secrets", "did you mean 'TOKNE'? or write TOKEN=…"),
    ],
)
def test_a_missing_secret(tmp_path: Path, files: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **files)("TOKEN", wanted_by="env.secret")
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "line", "message", "detail"),
    [
        ("A=1\nT=$(echo no >&2; exit 7)\n", 2, "the command of T failed: the command exited with 7", "no"),
        ("T=$(no-such-program)\n", 1, "exited with 127", "not found"),
        ("T=$(kamal secrets fetch --adapter 1passwrod X)\n", 1, "unknown secrets adapter '1passwrod'", ""),
        ("T=$(kamal secrets fetch X)\n", 1, "needs --adapter", ""),
        ("T=$(kamal secrets fetch -a bitwarden X)\n", 1, "needs --account", ""),
        ("T=$(kamal secrets fetch -a doppler X || cat)\n", 1, "'|' cannot follow", ""),
        ("T=$(kamal secrets extract A no-json)\n", 1, "was not given what `secrets fetch` prints", ""),
        ("T=$(kamal secrets extract A)\n", 1, "takes a name and the fetched values", ""),
        ("J='{\"x/B\": 1}'\nT=$(kamal secrets extract A $J)\n", 2, "'A' was not fetched", ""),
        ("T=$(kamal secrets print)\n", 1, "cannot be used inside", ""),
        ("T=$(kamal secrets fetch -a lastpass --acount x X)\n", 1, "no option --acount", ""),
    ],
)
def test_a_command_that_fails(tmp_path: Path, text: str, line: int, message: str, detail: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, secrets=text)("T")
    assert message in caught.value.message
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == (".kamal/secrets", line)
    assert detail in "\n".join(caught.value.details)


def test_our_own_commands_need_no_program(tmp_path: Path) -> None:
    values = json.dumps({"v/i/A": "it's (1) $x", "v/i/B": {"n": 1}})
    found = load(
        tmp_path,
        secrets=f"S={_dollar(values)}\n"
        "A=$(kamal secrets extract A $S)\n"
        'B=$(bundle exec kamal secrets extract v/i/B "$S")\n'
        "C=$(bin/kamal secrets extract B ${S})\n",
    )
    assert found("A").reveal() == "it's (1) $x"
    assert json.loads(found("B").reveal()) == json.loads(found("C").reveal()) == {"n": 1}


def test_the_rest_of_a_pipe_is_the_shells(tmp_path: Path) -> None:
    values = json.dumps({"v/KEY": "cy5lIGMncg==", "v/PLAIN": "it's $x\n(1)"})
    found = load(
        tmp_path,
        secrets=f"S={_dollar(values)}\nUP=S\n"
        "A=$(kamal secrets extract KEY $S | base64 -d)\n"
        "B=$(kamal secrets extract PLAIN $S | cat | tr '$UP' X | sed \"s/x/$UP/\")\n"
        "C=$(kamal secrets extract LOST $S | cat)\n"
        "D=$(kamal secrets extract KEY $S | (echo no >&2; exit 3))\n"
        "E=$(kamal secrets extract KEY $S |)\n",
    )
    assert found("A").reveal() == "s.e c'r"
    assert found("B").reveal() == "it's $S\n(1)"
    for name, message in (
        ("C", "'LOST' was not fetched"),
        ("D", "exited with 3"),
        ("E", "'|' cannot follow"),
    ):
        with pytest.raises(ConfigError) as caught:
            found(name)
        assert message in caught.value.message


def _dollar(text: str) -> str:
    """Text as a double-quoted value."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


def test_secrets_do_not_show(tmp_path: Path) -> None:
    found = load(tmp_path, secrets="A=hunter22\n")
    assert "hunter22" not in repr(found.all())
    assert "hunter22" not in f"{found('A')}"


def test_commands_show_no_values_in_verbose_output(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / ".kamal").mkdir()
    (tmp_path / ".kamal/secrets").write_text('A=hunter22\nB=$(echo "$A" $PASSWORD)\n')
    found = load_secrets(tmp_path, None, {**ENV, "PASSWORD": "swordfish"}, LocalRunner(debug=lines.append))
    assert found("B").reveal() == "hunter22 swordfish"
    assert lines
    assert "hunter22" not in "\n".join(lines)
    assert "swordfish" not in "\n".join(lines)


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"the corpus of real secrets files is absent ({CORPUS})")
@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.secrets")), ids=lambda path: path.stem)
def test_real_files(path: Path) -> None:
    """Every name of a real file gets a value; programs and vaults are stood in for."""
    parsed = parse(path.read_text(), path.name)
    asked: list[str] = []

    def shell(script: str, variables: Mapping[str, str]) -> str:
        asked.append(script)
        return "shell"

    def commands(words: Sequence[str]) -> str:
        if words[0] == "extract":
            return extract(words[1], words[2])
        _, wanted = parse_fetch(words[1:])
        return json.dumps({name: f"value of {name}" for name in wanted.prefixed})

    environ = {name: f"env {name}" for name in re.findall(r"\$\{?([A-Z_0-9]+)", path.read_text())}
    secrets = Secrets([parsed], searched=[path.name], environ=environ, shell=shell, commands=commands)
    values = plain(secrets)
    assert set(values) == {entry.name for entry in parsed.entries}
    empty = {name for name, value in values.items() if not value}
    assert empty == (
        {"KAMAL_REGISTRY_PASSWORD", "SMTP_USERNAME", "SMTP_PASSWORD"} if "044" in path.name else set()
    )
    assert parsed.warnings == ()


def test_what_can_be_told_without_running_anything(tmp_path: Path) -> None:
    """A vault is not unlocked, and no missing variable warned of, to know what must not be printed."""
    found = load(
        tmp_path,
        secrets="A=plain\nB=$OUTER\nC=$(touch ran; echo far)\nD=pre-$C\nE=$GONE\n"
        "F=${GONE:-$A}\nG=${GONE:-$D}\n",
    )
    told: list[str] = []
    found.listen(told.append)

    def at_hand() -> set[str]:
        return {secret.reveal() for secret in found.at_hand()}

    assert at_hand() == {"plain", "outer value"}
    assert not (tmp_path / "ran").exists() and told == []
    assert found("D").reveal() == "pre-far"
    assert at_hand() == {"plain", "outer value", "far", "pre-far"}
    found("E")
    assert len(told) == 1
