"""An ACME authority in the operator's namespace: a second Caddy, which signs what it has verified."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conftest import program
from tests.rig import Host, Rig

NAME = "ca.test"
PORT = 4443
DIRECTORY = f"https://{NAME}:{PORT}/acme/rig/directory"
ROOT = "data/caddy/pki/authorities/rig/root.crt"

FORGET = f"""
sed -i '/ {NAME}$/d' /etc/hosts
rm -rf /var/lib/freehold-proxy/certificates /var/lib/freehold-proxy/acme
systemctl restart freehold-proxy
"""
CADDYFILE = """\
{{
	admin off
	auto_https disable_redirects
	skip_install_trust
	pki {{
		ca rig {{
			name "Authority of the rig"
		}}
	}}
}}

https://{name}:{port} {{
	tls {{
		issuer internal {{
			ca rig
		}}
	}}
	acme_server {{
		ca rig
		challenges {challenges}
	}}
	log
}}
"""


@dataclass
class Authority:
    """Signs for whoever answers its challenge at the address that the operator's hosts file gives a name."""

    rig: Rig
    folder: Path

    @contextmanager
    def running(self, challenges: str) -> Iterator[None]:
        """Offer these challenges only; keys and accounts outlast the block."""
        path = self.folder / "Caddyfile"
        path.write_text(CADDYFILE.format(name=NAME, port=PORT, challenges=challenges))
        data = f"XDG_DATA_HOME={self.folder / 'data'}"
        argv = ("env", data, program("caddy"), "run", "--config", path)
        log = self.folder / f"log-{challenges}"
        with self.rig.control_start(argv, stdout=log) as run:
            end = time.monotonic() + 30
            while not self._answers():
                if run.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"the authority does not run: {log.read_text()[-3000:]}")
                time.sleep(0.05)
            yield

    def _answers(self) -> bool:
        try:
            self.rig.control_connect(str(self.rig.subnet[2]), PORT).close()
        except OSError:
            return False
        return self.root.exists()

    @property
    def root(self) -> Path:
        """Its own certificate, which a host has to trust."""
        return self.folder / ROOT

    def aged(self, name: str) -> tuple[str, str]:
        """A certificate with chain and its key, PEM, as this authority would have signed it months ago."""
        place = self.root.parent
        signer = x509.load_pem_x509_certificate((place / "intermediate.crt").read_bytes())
        signing = serialization.load_pem_private_key((place / "intermediate.key").read_bytes(), None)
        assert isinstance(signing, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        signed = (
            x509.CertificateBuilder(
                signer.subject, x509.Name([]), key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(now - datetime.timedelta(days=80))
            .not_valid_after(now + datetime.timedelta(days=5))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
            .sign(signing, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        private = key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        return "".join(one.public_bytes(pem).decode() for one in (signed, signer)), private

    @contextmanager
    def known(self, names: dict[str, Host], *hosts: Host) -> Iterator[None]:
        """`names` lead to hosts as the authority sees them; `hosts` find the authority by its own name."""
        # In place: the operator's programs have this very file bound over their /etc/hosts.
        file = self.rig.home / "hosts"
        before = file.read_text()
        file.write_text(before + "".join(f"{host.address} {name}\n" for name, host in names.items()))
        for host in hosts:
            host.exec(f"echo '{self.rig.subnet[2]} {NAME}' >>/etc/hosts")
        try:
            yield
        finally:
            file.write_text(before)
            for host in hosts:
                host.exec(FORGET)
