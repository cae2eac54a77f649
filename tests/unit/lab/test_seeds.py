"""The seed of a machine: what it is called, and by which names it knows the others."""

import pytest
import yaml

from cloudinit.hostkeys import generate_host_key
from cloudinit.keys import parse_public_key
from lab.mirror import mirror
from lab.seeds import full_name, seed_files
from tests.unit.lab.samples import lab_state


def test_machines_know_hosts_with_an_underscore_by_their_names() -> None:
    hosts = ("my_server", "my_db.example.com", "web-2")
    state = lab_state(spec=mirror("shop", [(host, ["web"]) for host in hosts]))
    key, user_key = generate_host_key(), parse_public_key(generate_host_key().public)
    seeds = {
        machine.host: yaml.safe_load(seed_files(state, machine, host_key=key, user_key=user_key).vendor_data)
        for machine in state.machines
    }
    content = seeds["web-2"]["write_files"][0]["content"]
    known = {line.split()[1]: line.split()[0] for line in content.splitlines()}
    assert known["my_server"] == known["my-server"] == "198.18.0.11"
    assert known["my_db.example.com"] == known["my-db"] == "198.18.0.12"
    assert seeds["my_server"]["hostname"] == "my-server"
    assert "fqdn" not in seeds["my_db.example.com"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("web-1.Example.com", "web-1.example.com"),
        ("web-1", ""),
        ("203.0.113.7", ""),
        ("2001:db8::7", ""),
        ("my_server.example.com", ""),
    ],
)
def test_a_full_name_is_one_that_dns_may_have(host: str, name: str) -> None:
    assert full_name(host) == name
