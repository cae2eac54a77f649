"""Password managers, read by their programs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deployer.secrets import load_secrets
from deployer.secrets.vault import ADAPTERS, LocalVault, Wanted, fetch, lookup
from freehold.errors import FreeholdError, ProcessError, UsageError
from freehold.process import LocalRunner
from tests.unit.deployer.secrets.conftest import Desk


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


def test_two_secrets_that_would_be_called_the_same_are_refused(desk: Desk) -> None:
    desk.answers(
        "passbolt",
        ("verify", ""),
        ("list folders", {"json": [{"id": "f1", "folder_parent_id": ""}]}),
        ("list resources", {"json": [{"name": "A", "password": "a"}, {"name": "A", "password": "b"}]}),
    )
    with pytest.raises(UsageError, match="called A not apart"):
        desk.fetch("passbolt", "x/A", "y/A")
    desk.answers(
        "gcloud",
        ("auth list", {"json": [{"account": "me"}]}),
        ("secrets versions access", {"json": {"payload": {"data": "YQ=="}}}),
    )
    with pytest.raises(UsageError, match="p/A is asked for twice"):
        desk.fetch("gcp", "p/A/1", "p/A/2", account="default")


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


def test_the_page_has_a_row_for_every_adapter() -> None:
    page = Path("docs/configuration.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z0-9_-]+)` \| (.*) \|$", page, re.MULTILINE))
    listed = {lookup(name): row.split(" | ")[-1] for name, row in rows.items()}
    assert set(listed) == {lookup(name) for name in ADAPTERS}
    for adapter, account in listed.items():
        assert account.startswith("required") == adapter.NEEDS_ACCOUNT
    for name in ADAPTERS:
        assert f"`{name}`" in page
