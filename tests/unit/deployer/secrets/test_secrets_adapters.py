"""Password managers, each stood in for by an executable that notes how it is called."""

from __future__ import annotations

import base64
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployer.secrets import load_secrets
from deployer.secrets.vault import ADAPTERS, LocalVault, Wanted, fetch, lookup
from freehold.errors import FreeholdError, ProcessError, UsageError
from freehold.process import LocalRunner

FAKE = """#!{python}
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
name = Path(__file__).name
words = sys.argv[1:]
seen = {{key: os.environ[key] for key in ("BW_SESSION", "OP_SESSION_me") if key in os.environ}}
with (here / "calls").open("a") as stream:
    stream.write(json.dumps([[name, *words], seen]) + "\\n")
for prefix, answer in json.loads((here / f"{{name}}.json").read_text()):
    if words[: len(prefix)] == prefix:
        if isinstance(answer, list):
            after = here / f"{{name}}-{{'-'.join(prefix).replace('/', '_')}}"
            answer, rest = answer[min(int(after.read_text()) if after.exists() else 0, len(answer) - 1)], None
            after.write_text(str((int(after.read_text()) if after.exists() else 0) + 1))
        if isinstance(answer, int):
            sys.exit(answer)
        sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer["json"]))
        sys.exit(0)
sys.exit("unexpected: " + repr(words))
"""


@dataclass
class Desk:
    """Programs in a directory of their own, in front of PATH."""

    root: Path
    environ: dict[str, str]

    def answers(self, program: str, *answers: tuple[str, Any]) -> None:
        """What it answers to words that begin so: text, an exit code, {"json": …}, or these in turn."""
        path = self.root / program
        path.write_text(FAKE.format(python=sys.executable))
        path.chmod(0o755)
        rows = [[words.split(), answer] for words, answer in answers]
        (self.root / f"{program}.json").write_text(json.dumps(rows))

    def fetch(
        self, adapter: str, *names: str, account: str | None = None, source: str | None = None
    ) -> dict[str, str]:
        vault = LocalVault(LocalRunner(), self.root, self.environ)
        return fetch(adapter, Wanted(names, account, source), vault)

    @property
    def calls(self) -> list[str]:
        """The commands in order."""
        lines = (self.root / "calls").read_text().splitlines()
        return [" ".join(json.loads(line)[0]) for line in lines]

    @property
    def sessions(self) -> list[dict[str, str]]:
        """The session variables that each command saw."""
        return [json.loads(line)[1] for line in (self.root / "calls").read_text().splitlines()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, {"PATH": f"{tmp_path}:{os.environ['PATH']}"})


def field(reference: str, value: str) -> dict[str, str]:
    return {"reference": reference, "value": value}


def test_1password_reads_each_item_once(desk: Desk) -> None:
    desk.answers(
        "op",
        ("account get", ""),
        ("item get Mail", {"json": [field("op://Box/Mail/USER", "u"), field("op://Box/Mail/s/PASS", "p")]}),
        ("item get Key", {"json": field("op://Box/Key/password", "k")}),
    )
    found = desk.fetch("1password", "Mail/USER", "Mail/s/PASS", "Key", account="me", source="op://Box")
    assert found == {"Box/Mail/USER": "u", "Box/Mail/s/PASS": "p", "Box/Key": "k"}
    assert desk.calls == [
        "op account get --account me",
        "op item get Mail --vault Box --format json --account me --fields label=USER,label=s.PASS",
        "op item get Key --vault Box --format json --account me --fields label=password",
    ]


def test_1password_signs_in_and_keeps_the_token_out_of_argv(desk: Desk) -> None:
    desk.answers(
        "op",
        ("account get", 1),
        ("signin", 'export OP_SESSION_me="t0ken"\n'),
        (
            "item get Key",
            {"json": {"fields": [field("op://Box/Key/A", "a"), field("op://Box/Key/B", "b"), {"id": "x"}]}},
        ),
    )
    assert desk.fetch("one_password", account="me", source="Box/Key") == {"Box/Key/A": "a", "Box/Key/B": "b"}
    assert desk.calls[1:] == [
        "op signin --account me --force",
        "op item get Key --vault Box --format json --account me",
    ]
    assert desk.sessions == [{}, {}, {"OP_SESSION_me": "t0ken"}]


def test_bitwarden_unlocks_and_reads_passwords_and_fields(desk: Desk) -> None:
    desk.answers(
        "bw",
        (
            "status",
            [
                {"json": {"status": "unauthenticated"}},
                {"json": {"status": "locked"}},
                {"json": {"status": "unlocked"}},
            ],
        ),
        ("login me", "ok"),
        ("unlock --raw", "t0ken\n"),
        ("sync", ""),
        ("get item login", {"json": {"login": {"password": "pw"}}}),
        (
            "get item note",
            {"json": {"login": None, "fields": [{"name": "A", "value": "a"}, {"name": "B", "value": "b"}]}},
        ),
    )
    assert desk.fetch("bitwarden", "login", "note/B", account="me") == {"login": "pw", "note/B": "b"}
    assert desk.calls == [
        *("bw status", "bw login me", "bw status", "bw unlock --raw", "bw status", "bw sync"),
        *("bw get item login", "bw get item note"),
    ]
    assert desk.sessions[-1] == {"BW_SESSION": "t0ken"}
    assert desk.fetch("bitwarden", "note", account="me") == {"note/A": "a", "note/B": "b"}
    with pytest.raises(UsageError, match="'note' of Bitwarden has no field C"):
        desk.fetch("bitwarden", "note/C", account="me")


def test_bitwarden_secrets_manager(desk: Desk) -> None:
    pair = [{"key": "A", "value": "a"}, {"key": "B", "value": "b"}]
    desk.answers(
        "bws",
        ("project list", ""),
        ("secret list proj", {"json": pair}),
        ("secret list", {"json": pair[:1]}),
        ("secret get 1", {"json": pair[0]}),
        ("secret get 2", {"json": pair[1]}),
    )
    assert desk.fetch("bitwarden-sm", "1", "2") == {"A": "a", "B": "b"}
    assert desk.fetch("bitwarden_secrets_manager", "all", source="proj") == {"A": "a", "B": "b"}
    assert desk.fetch("bitwarden-sm", "all") == {"A": "a"}
    assert [call for call in desk.calls if call != "bws project list"] == [
        *("bws secret get 1", "bws secret get 2", "bws secret list proj", "bws secret list"),
    ]


def test_lastpass(desk: Desk) -> None:
    desk.answers(
        "lpass",
        ("status", "Not logged in.\n"),
        ("login me@x", ""),
        ("show Box/A B", {"json": [{"fullname": "Box/A", "password": "a"}]}),
        ("show Box/A", {"json": [{"fullname": "Box/A", "password": "a"}]}),
    )
    assert desk.fetch("lastpass", "A", account="me@x", source="Box") == {"Box/A": "a"}
    assert desk.calls == ["lpass status --color never", "lpass login me@x", "lpass show Box/A --json"]
    with pytest.raises(UsageError, match="LastPass has no B"):
        desk.fetch("lastpass", "Box/A", "B", account="me@x")


def test_lastpass_stays_logged_in(desk: Desk) -> None:
    desk.answers(
        "lpass",
        ("status", "Logged in as me@x.\n"),
        ("show A", {"json": [{"fullname": "A", "password": "a"}]}),
    )
    assert desk.fetch("last_pass", "A", account="me@x") == {"A": "a"}
    assert desk.calls == ["lpass status --color never", "lpass show A --json"]


def test_aws(desk: Desk) -> None:
    values = [
        {"Name": "p/DB", "SecretString": '{"user": "u", "port": 5432}'},
        {"Name": "p/PLAIN", "SecretString": "text"},
        {"Name": "p/NUMBER", "SecretString": "0123"},
    ]
    desk.answers("aws", ("secretsmanager", {"json": {"SecretValues": values, "Errors": []}}))
    found = desk.fetch("aws_secrets_manager", "DB", "PLAIN", account="prod", source="p")
    assert found == {"p/DB/user": "u", "p/DB/port": "5432", "p/PLAIN": "text", "p/NUMBER": "0123"}
    assert desk.calls == [
        "aws secretsmanager batch-get-secret-value --secret-id-list p/DB p/PLAIN --profile prod --output json"
    ]
    errors = [{"SecretId": "X", "Message": "Secrets Manager can't find it"}]
    desk.answers("aws", ("secretsmanager", {"json": {"SecretValues": [], "Errors": errors}}))
    with pytest.raises(ProcessError) as caught:
        desk.fetch("aws_secrets_manager", "X")
    assert caught.value.details == ("X: Secrets Manager can't find it",)


def test_gcp(desk: Desk) -> None:
    # ">>>???" is what differs between the two alphabets of base64.
    data = base64.urlsafe_b64encode(b">>>??? s3cret").decode()
    answer = {"json": {"payload": {"data": data}}}
    desk.answers(
        "gcloud",
        ("auth list", [{"json": []}, {"json": [{"account": "me"}]}]),
        ("auth login", ""),
        ("secrets versions", answer),
    )
    found = desk.fetch("gcp", "A", "B/3", account="me@x|robot@y", source="proj")
    assert found == {"proj/A": ">>>??? s3cret", "proj/B": ">>>??? s3cret"}
    assert desk.fetch("gcp_secret_manager", "C", account="default") == {"default/C": ">>>??? s3cret"}
    tail = "--project=proj --account=me@x --impersonate-service-account=robot@y --format=json"
    assert desk.calls == [
        *("gcloud auth list --format=json", "gcloud auth login", "gcloud auth list --format=json"),
        f"gcloud secrets versions access latest --secret=A {tail}",
        f"gcloud secrets versions access 3 --secret=B {tail}",
        "gcloud auth list --format=json",
        "gcloud secrets versions access latest --secret=C --format=json",
    ]


def test_doppler(desk: Desk) -> None:
    desk.answers(
        "doppler",
        ("me --json", 1),
        ("login -y", ""),
        ("secrets get A B --json", {"json": {"A": {"computed": "a"}, "B": {"computed": "b"}}}),
    )
    assert desk.fetch("doppler", "A", "B", source="proj/prd") == {"A": "a", "B": "b"}
    assert desk.calls == [
        "doppler me --json",
        "doppler login -y",
        "doppler secrets get A B --json -p proj -c prd",
    ]
    with pytest.raises(UsageError, match="a project and a config"):
        desk.fetch("doppler", "A", "B")
    desk.environ["DOPPLER_TOKEN"] = "dp.st.prd.x"
    desk.fetch("doppler", "A", "B")
    assert desk.calls[-1] == "doppler secrets get A B --json"


def test_enpass(desk: Desk) -> None:
    items = [
        {"title": "Db", "label": "user", "password": "u"},
        {"title": "Db", "label": "pass", "password": "p"},
        {"title": "Key", "label": "", "password": "k"},
        {"title": "Other", "label": "x", "password": "y"},
    ]
    desk.answers("enpass-cli", ("-json", {"json": items}))
    assert desk.fetch("enpass", "Db/pass", "Key", source="/vault") == {"Db/pass": "p", "Key": "k"}
    assert desk.calls == ["enpass-cli -json -vault /vault show Db Key"]
    assert desk.fetch("enpass", "Db", source="/vault") == {"Db/user": "u", "Db/pass": "p"}
    with pytest.raises(UsageError, match="needs the directory"):
        desk.fetch("enpass", "Db")


def test_passbolt(desk: Desk) -> None:
    desk.answers(
        "passbolt",
        ("verify", ""),
        (
            "list folders",
            [
                {"json": [{"id": "f1", "folder_parent_id": ""}]},
                {"json": [{"id": "f2", "folder_parent_id": "f1"}]},
            ],
        ),
        ("list resources", {"json": [{"name": "A", "password": "a"}, {"name": "B", "password": "b"}]}),
    )
    assert desk.fetch("passbolt", "x/y/A", "B") == {"A": "a", "B": "b"}
    assert desk.calls == [
        "passbolt verify",
        'passbolt list folders --filter Name == "x" --json',
        'passbolt list folders --filter Name == "y" && FolderParentID == "f1" --json',
        'passbolt list resources --filter (Name == "A" && FolderParentID == "f2") || Name == "B" '
        "--folder f1 --folder f2 --column name --column password --json",
    ]
    with pytest.raises(UsageError, match="Passbolt has no C"):
        desk.fetch("passbolt", "C")


def test_pass(desk: Desk) -> None:
    desk.answers("pass", ("show db/main", "s3cret\nuser: admin\nurl: http://x:1\n"), ("show db/empty", ""))
    found = desk.fetch("pass", "main", "main:user", "main:url", "empty", source="db")
    assert found == {
        "db/main": "s3cret",
        "db/main:user": "admin",
        "db/main:url": "http://x:1",
        "db/empty": "",
    }
    assert desk.calls == ["pass show db/main", "pass show db/empty"]
    with pytest.raises(UsageError, match="no line 'host: …'"):
        desk.fetch("pass", "db/main:host")


def test_sops(desk: Desk) -> None:
    desk.answers("sops", ("--decrypt", {"json": {"A": "a", "prod": {"B": "b", "n": 5}}}))
    assert desk.fetch("sops", "A", "prod/B", source="s.yml") == {"A": "a", "prod/B": "b"}
    assert desk.fetch("sops", source="s.yml") == {"A": "a", "prod/B": "b", "prod/n": "5"}
    assert set(desk.calls) == {"sops --decrypt --output-type json s.yml"}
    with pytest.raises(UsageError) as caught:
        desk.fetch("sops", "prod/BB", source="s.yml")
    assert caught.value.hint == "did you mean 'prod/B'?"


def test_age(desk: Desk) -> None:
    desk.answers("age", ("--decrypt --identity key.txt", "A=a\nB='$b'\n"), ("--decrypt s.age", '{"A": "j"}'))
    assert desk.fetch("age", "B", account="key.txt", source="s.age") == {"B": "$b"}
    assert desk.fetch("age", source="s.age") == {"A": "j"}
    assert desk.calls == ["age --decrypt --identity key.txt s.age", "age --decrypt s.age"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_program_that_is_not_installed(tmp_path: Path, adapter: str) -> None:
    vault = LocalVault(LocalRunner(), tmp_path, {"PATH": str(tmp_path)})
    with pytest.raises(FreeholdError) as caught:
        fetch(adapter, Wanted(("A",), "me", "proj/prd"), vault)
    text = f"{caught.value.message} {' '.join(caught.value.details)}"
    assert "not installed" in text or "not found" in text
    assert caught.value.exit_code in (1, 2)


def test_output_that_is_not_understood(desk: Desk) -> None:
    desk.answers("aws", ("secretsmanager", "Unable to locate credentials"))
    with pytest.raises(ProcessError, match="aws_secrets_manager did not understand"):
        desk.fetch("aws_secrets_manager", "A")
    desk.answers("doppler", ("me", ""), ("secrets", {"json": {"A": "text"}}))
    with pytest.raises(ProcessError, match="doppler did not understand"):
        desk.fetch("doppler", "A", source="a/b")


def test_an_unknown_adapter_has_a_near_miss() -> None:
    with pytest.raises(UsageError) as caught:
        lookup("lastpas")
    assert caught.value.hint == "did you mean 'lastpass'?"


def test_through_a_secrets_file(desk: Desk) -> None:
    """Fetched once, taken apart by names, as Kamal's own template shows it."""
    values = [{"Name": "A", "SecretString": 'it\'s $5 ("x")'}, {"Name": "B", "SecretString": "b"}]
    desk.answers("aws", ("secretsmanager", {"json": {"SecretValues": values}}))
    (desk.root / ".kamal").mkdir()
    (desk.root / ".kamal/secrets").write_text(
        "S=$(kamal secrets fetch \\\n  --adapter aws_secrets_manager A B)\n"
        "A=$(kamal secrets extract A $S)\nB=$(kamal secrets extract B $S)\n"
    )
    found = load_secrets(desk.root, None, desk.environ, LocalRunner())
    assert (found("A").reveal(), found("B").reveal()) == ('it\'s $5 ("x")', "b")
    assert len(desk.calls) == 1
