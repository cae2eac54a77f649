"""Certificates of one's own, and what a host shows over HTTPS."""

from __future__ import annotations

import datetime
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.rig import Host, Rig


def self_signed(name: str) -> tuple[str, str]:
    """A certificate for a name and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def secure(
    rig: Rig, host: Host, name: str, path: str = "/version", port: int = 443, more: str = ""
) -> tuple[str, str]:
    """The certificate that a host shows for a name, PEM, and its answer over HTTPS. `more`: header lines."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with context.wrap_socket(rig.control_connect(host.address, port), server_hostname=name) as wrapped:
        shown = wrapped.getpeercert(binary_form=True)
        wrapped.sendall(f"GET {path} HTTP/1.1\r\nHost: {name}\r\n{more}Connection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: wrapped.recv(65536), b""))
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown), answer.partition(b"\r\n\r\n")[2].decode()
