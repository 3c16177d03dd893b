"""Certificates for the connections inside one job's Ray; without one of them nobody is listened to.

The token alone would not do: it goes over the network as it is, and Ray answers some calls before
it looks for it (one of them, sent without a node's identity, ends Ray 2.60).
"""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "NodeCertificate", "make_authority", "make_node_certificate"]

_LIFETIME = datetime.timedelta(days=60)  # longer than any job's wall time
_CLOCK_SKEW = datetime.timedelta(hours=12)


class Authority(NamedTuple):
    """What vouches for the nodes of a job."""

    certificate: Path
    key: Path

    @classmethod
    def below(cls, directory: Path) -> "Authority":
        """Return where it is in the job's directory."""
        return cls(directory / "ca.crt", directory / "ca.key")


class NodeCertificate(NamedTuple):
    """What a node shows to the others, as a server and as a client."""

    certificate: Path
    key: Path

    @classmethod
    def below(cls, directory: Path) -> "NodeCertificate":
        """Return where it is in a node's directory."""
        return cls(directory / "node.crt", directory / "node.key")


def make_authority(directory: Path) -> Authority:
    """Write a new authority into a directory of the user alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("periogt job")
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Authority.below(directory)
    # The key first: who sees the certificate may use both.
    _write(made.key, _key_bytes(key))
    _write(made.certificate, certificate.public_bytes(Encoding.PEM))
    return made


def make_node_certificate(authority: Authority, directory: Path, *, hostname: str, address: str) -> NodeCertificate:
    """Write a certificate for a node's name and address, and for its loopback, into a directory of the node.

    Parameters
    ----------
    authority : Authority
        Of the job.
    directory : pathlib.Path
        Private.
    hostname, address : str
        As the other nodes connect to it.
    """
    signer = load_pem_private_key(authority.key.read_bytes(), password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{authority.key} holds no key that was made here")
    issuer = x509.load_pem_x509_certificate(authority.certificate.read_bytes()).subject
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(hostname), x509.DNSName("localhost")]
    names += [x509.IPAddress(ipaddress.ip_address(one)) for one in dict.fromkeys((address, "127.0.0.1"))]
    certificate = (
        _builder(_name(hostname), issuer, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(signer, hashes.SHA256())
    )
    made = NodeCertificate.below(directory)
    _write(made.key, _key_bytes(key))
    _write(made.certificate, certificate.public_bytes(Encoding.PEM))
    return made


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
    )


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
