"""What the providers of servers take as user-data: how much, and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KIB = 1024


@dataclass(frozen=True)
class Provider:
    """A provider's limit of user-data in bytes, before base64, and where it says so.

    `binary`: it takes bytes that are no text, so that gzip may travel as it is.
    """

    name: str
    limit: int
    source: str
    binary: bool = False


_KNOWN = (
    Provider(
        "azure",
        65_535,
        "https://learn.microsoft.com/rest/api/compute/virtual-machines/create-or-update (customData)",
        binary=True,
    ),
    Provider(
        "digitalocean",
        64 * KIB,
        "https://docs.digitalocean.com/reference/api/digitalocean/#operation/droplets_create (user_data: "
        "plain text, 64 KiB)",
    ),
    Provider(
        "ec2",
        16 * KIB,
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-add-user-data.html (16 KB raw)",
        binary=True,
    ),
    Provider(
        "gce",
        256 * KIB,
        "https://cloud.google.com/compute/docs/reference/rest/v1/Metadata (262,144 bytes a value; text)",
    ),
    Provider(
        "hetzner", 32 * KIB, "https://docs.hetzner.cloud/reference/cloud#servers-create-a-server (32 KiB)"
    ),
    # The API takes more in base64; what is decoded counts.
    Provider(
        "linode",
        16 * KIB,
        "16,384 bytes decoded: linode/cluster-api-provider-linode, linodemachine_controller_helpers.go",
    ),
    Provider(
        "openstack",
        # Nova counts the base64 text: 65,535 characters.
        65_535 // 4 * 3,
        "https://docs.openstack.org/nova/latest/user/metadata.html (65,535 bytes in base64)",
        binary=True,
    ),
    Provider(
        "oracle",
        # All metadata together, user-data in base64 and the SSH keys: 32,000 bytes. 2,000 are left for keys.
        30_000 // 4 * 3,
        "https://docs.oracle.com/iaas/api/#/en/iaas/latest/datatypes/LaunchInstanceDetails (metadata)",
        binary=True,
    ),
    Provider("scaleway", 127 * KIB, "https://www.scaleway.com/en/docs/instances/how-to/use-cloud-init/"),
    # It publishes no limit; the smallest of all stands in.
    Provider("vultr", 16 * KIB, "none published: the smallest of all"),
)
PROVIDERS: Mapping[str, Provider] = MappingProxyType({item.name: item for item in _KNOWN})
# What any of them takes.
SMALLEST = Provider("any provider", 16 * KIB, "the smallest of all")
