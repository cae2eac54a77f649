"""Secrets of a cloud and of files, read by their programs."""

from __future__ import annotations

import base64

import pytest

from freehold.errors import ProcessError, UsageError
from tests.unit.deployer.secrets.conftest import Desk


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


def test_aws_keeps_binary_secrets(desk: Desk) -> None:
    def holding(data: bytes) -> None:
        values = [{"Name": "KEY", "SecretBinary": base64.b64encode(data).decode()}]
        desk.answers("aws", ("secretsmanager", {"json": {"SecretValues": values, "Errors": []}}))

    holding("käy\n".encode())
    assert desk.fetch("aws_secrets_manager", "KEY") == {"KEY": "käy\n"}
    holding(b"\xff\x00")
    with pytest.raises(ProcessError, match="the secret KEY of AWS Secrets Manager holds bytes"):
        desk.fetch("aws_secrets_manager", "KEY")


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
    with pytest.raises(UsageError, match="one project and config at a time"):
        desk.fetch("doppler", "proj/prd/A", "proj/dev/B")
    desk.environ["DOPPLER_TOKEN"] = "dp.st.prd.x"
    desk.fetch("doppler", "A", "B")
    assert desk.calls[-1] == "doppler secrets get A B --json"


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
