"""A certificate authority for servers on loopback, as every cluster has one of its own. Called by ``api_server``, and
by tests that need a server behind TLS."""

import ipaddress
import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    pem: bytes
    _key: ec.EllipticCurvePrivateKey
    _certificate: x509.Certificate

    def server_context(self, host: str) -> ssl.SSLContext:
        """What a server at ``host``, an IP address, shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        certificate = (
            _builder(_name("kube-apiserver"), self._certificate.subject, key)
            .add_extension(alternative, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with tempfile.NamedTemporaryFile() as both:
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            Path(both.name).write_bytes(pem + certificate.public_bytes(Encoding.PEM))
            context.load_cert_chain(both.name)
        return context


def create_authority() -> CertificateAuthority:
    """Without key identifiers, as the authorities of older clusters are."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("kubernetes")
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    certificate = _builder(name, name, key).add_extension(constraints, critical=True).sign(key, hashes.SHA256())
    return CertificateAuthority(certificate.public_bytes(Encoding.PEM), key, certificate)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
