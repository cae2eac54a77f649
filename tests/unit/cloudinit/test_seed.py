from __future__ import annotations

import base64
import email
import gzip
import os
import time
from io import BytesIO
from pathlib import Path

import pycdlib
import pytest
import yaml

from cloudinit.cloudconfig import as_cloud_config
from cloudinit.hostkeys import generate_host_key
from cloudinit.iso import EPOCH, iso_bytes, write_iso
from cloudinit.keys import parse_public_key
from cloudinit.network import Interface, Network, Route
from cloudinit.profile import HostProfile, parse_profile
from cloudinit.providers import PROVIDERS
from cloudinit.recipe import make_recipe
from cloudinit.script import as_script
from cloudinit.seed import Seed, render_seed
from cloudinit.userdata import encode, fit
from cloudinit.users import User
from freehold.errors import InputError
from freehold.secret import Secret

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE me"
NETWORK = Network(
    (
        Interface("eth0", dhcp4=True),
        Interface(
            "eth1",
            mac="52:54:00:00:00:02",
            rename=True,
            addresses=("192.0.2.10/24", "2001:db8::10/64"),
            gateway4="192.0.2.1",
            gateway6="2001:db8::1",
            nameservers=("192.0.2.53",),
            routes=(Route("198.51.100.0/24", "192.0.2.254"),),
        ),
    )
)


def seed() -> Seed:
    user = User("deploy", keys=(parse_public_key(ED),))
    return Seed("web-1", users=(user,), network=NETWORK, hosts={"web-1": "192.0.2.10", "web-2": "192.0.2.11"})


def test_the_same_seed_is_the_same_bytes_and_another_is_another_instance() -> None:
    one, two = render_seed(seed()), render_seed(seed())
    assert one == two
    other = render_seed(Seed("web-1", users=(User("ops"),)))
    assert yaml.safe_load(one.meta_data)["instance-id"] != yaml.safe_load(other.meta_data)["instance-id"]


def test_a_golden_images_seed_says_who_and_where_and_nothing_else() -> None:
    files = render_seed(seed())
    data = yaml.safe_load(files.user_data)
    assert files.user_data.startswith("#cloud-config\n")
    assert data["hostname"] == "web-1"
    assert data["users"][0]["ssh_authorized_keys"] == [ED]
    assert data["users"][0]["groups"] == ["docker", "freehold", "sudo"]
    assert "runcmd" not in data
    (hosts,) = data["write_files"]
    assert hosts["content"] == "127.0.1.1 web-1\n192.0.2.11 web-2\n"
    assert data["manage_etc_hosts"] is False
    assert set(files.files()) == {"user-data", "meta-data", "vendor-data", "network-config"}


def test_the_recipe_travels_whole_in_a_vendor_images_user_data() -> None:
    recipe = make_recipe(HostProfile())
    data = yaml.safe_load(as_cloud_config(recipe, (User("deploy"),)))
    (written,) = data["write_files"]
    script = gzip.decompress(base64.b64decode(written["content"])).decode()
    assert script == as_script(recipe, offline=False)
    assert data["runcmd"] == [["bash", written["path"]]]
    # The groups do not exist yet when cloud-init makes the users of a vendor's image.
    assert "groups" not in data["users"][0]


def test_private_keys_and_password_hashes_need_consent() -> None:
    key = generate_host_key("web-1")
    users = (User("deploy", password=Secret("$6$salt$" + "h" * 86)),)
    with pytest.raises(InputError, match="private SSH host keys, the password hash of deploy"):
        render_seed(Seed("web-1", users=users, host_keys=(key,)))
    recipe = make_recipe(HostProfile(users=users))
    with pytest.raises(InputError, match="the password hash of deploy"):
        render_seed(Seed("web-1", recipe=recipe))
    data = yaml.safe_load(
        render_seed(Seed("web-1", users=users, host_keys=(key,)), allow_secrets=True).user_data
    )
    assert data["ssh_keys"]["ed25519_private"] == key.private.reveal()
    assert data["users"][0]["hashed_passwd"].startswith("$6$")


@pytest.mark.parametrize("name", ["Web", "web_1", "-web", "web-", "", "a..b", "a" * 64])
def test_a_wrong_host_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no host name"):
        Seed(name)


@pytest.mark.parametrize("name", ["Web", "-web", "web-", "", "a..b", "a" * 64, "web 1"])
def test_a_wrong_name_of_another_host_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no host name"):
        Seed("web-1", hosts={name: "192.0.2.1"})


@pytest.mark.parametrize("name", ["web_1", "_web.example.com"])
def test_another_host_may_have_an_underscore_in_its_name(name: str) -> None:
    assert f"192.0.2.1 {name}\n" in render_seed(Seed("web-1", hosts={name: "192.0.2.1"})).user_data


def test_a_host_name_that_linux_does_not_take_is_refused() -> None:
    name = f"web.{'a' * 56}.net"
    assert Seed(name).hostname == name
    with pytest.raises(InputError, match="longer than Linux takes: 64") as caught:
        Seed(f"a{name}")
    assert "machines.NAME.hostname" in caught.value.hint


def test_a_wrong_address_of_another_host_is_refused() -> None:
    with pytest.raises(InputError, match="the host web-2: 'nowhere'"):
        Seed("web-1", hosts={"web-2": "nowhere"})


def test_network_version_2_is_netplans() -> None:
    eth1 = NETWORK.v2()["ethernets"]["eth1"]
    assert eth1["match"] == {"macaddress": "52:54:00:00:00:02"}
    assert eth1["set-name"] == "eth1"
    assert eth1["routes"] == [
        {"to": "0.0.0.0/0", "via": "192.0.2.1"},
        {"to": "::/1", "via": "2001:db8::1"},
        {"to": "8000::/1", "via": "2001:db8::1"},
        {"to": "198.51.100.0/24", "via": "192.0.2.254"},
    ]
    assert eth1["nameservers"] == {"addresses": ["192.0.2.53"]}


def test_network_version_1_hangs_gateways_on_the_subnet_of_their_family() -> None:
    eth1 = NETWORK.v1()["config"][1]
    four, six = eth1["subnets"]
    assert (four["type"], four["gateway"]) == ("static", "192.0.2.1")
    assert (six["type"], six["gateway"]) == ("static6", "2001:db8::1")
    assert four["routes"] == [{"destination": "198.51.100.0/24", "gateway": "192.0.2.254"}]


def test_a_route_to_one_address_says_so() -> None:
    card = Interface(
        addresses=("192.0.2.10/24", "2001:db8::10/64"),
        routes=(Route("198.51.100.7", "192.0.2.1"), Route("::/0", "2001:db8::1")),
    )
    network = Network((card,))
    to = [route["to"] for route in network.v2()["ethernets"]["eth0"]["routes"]]
    assert to == ["198.51.100.7/32", "::/1", "8000::/1"]
    subnets = network.v1()["config"][0]["subnets"]
    assert [route["destination"] for subnet in subnets for route in subnet["routes"]] == to


def test_the_volume_is_the_same_at_any_time_and_in_any_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    files = render_seed(seed()).files()
    first = iso_bytes(files)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 40_000_000)
    monkeypatch.setitem(os.environ, "TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert iso_bytes(files) == first
    finally:
        monkeypatch.undo()
        time.tzset()
    assert iso_bytes(files, epoch=EPOCH + 1) != first


def test_the_volume_is_read_by_label_joliet_and_rock_ridge(tmp_path: Path) -> None:
    files = render_seed(seed()).files()
    path = tmp_path / "seed.iso"
    write_iso(files, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes()[0x8028 : 0x8028 + 32].strip() == b"cidata"
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    try:
        for key in ("joliet_path", "rr_path"):
            for name, data in files.items():
                found = BytesIO()
                iso.get_file_from_iso_fp(found, **{key: f"/{name}"})
                assert found.getvalue() == data
    finally:
        iso.close()


def test_user_data_stays_plain_while_it_fits() -> None:
    assert fit("#cloud-config\n", PROVIDERS["ec2"]) == b"#cloud-config\n"


@pytest.mark.parametrize("name", ["hetzner", "ec2"])
def test_user_data_is_packed_where_it_is_too_large(name: str) -> None:
    text = "#cloud-config\n" + "# the same words again\n" * 4000
    data = fit(text, PROVIDERS[name])
    assert len(data) <= PROVIDERS[name].limit
    if PROVIDERS[name].binary:
        assert gzip.decompress(data).decode() == text
    else:
        (part,) = [part for part in email.message_from_bytes(data).walk() if not part.is_multipart()]
        packed = part.get_payload(decode=True)
        assert part.get_content_type() == "application/gzip" and isinstance(packed, bytes)
        assert gzip.decompress(packed).decode() == text


def test_user_data_past_every_limit_is_an_error_with_the_sizes() -> None:
    text = "#cloud-config\n# " + base64.b64encode(os.urandom(60_000)).decode()
    with pytest.raises(InputError, match=r"80,016 bytes, .* packed; hetzner takes 32,768") as caught:
        fit(text, PROVIDERS["hetzner"])
    assert "golden image" in caught.value.hint


def test_the_default_recipe_fits_every_provider_unpacked() -> None:
    profile = parse_profile(f"users:\n  - name: deploy\n    keys: [{ED}]\n")
    text = as_cloud_config(make_recipe(profile), profile.users)
    assert all(fit(text, provider) == text.encode() for provider in PROVIDERS.values())


def test_packing_is_the_same_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = encode("#cloud-config\n", "mime")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 40_000_000)
    assert encode("#cloud-config\n", "mime") == first
