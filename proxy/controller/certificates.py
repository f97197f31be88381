"""The webhook's certificate where nobody else provides one: an authority of its own, and a leaf that it signs.

``keep`` stores them in a Secret and renews them. Time is an argument; keys are random, as keys are. An authority
outlives many leaves, and the one before it stays trusted: a replica that still shows a leaf of it is believed.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIVES = timedelta(days=3650)
LEAF_LIVES = timedelta(days=90)
SKEW = timedelta(hours=1)  # that clocks may differ by


@dataclass(frozen=True, slots=True)
class Bundle:
    """PEM, each. ``authorities`` are all that are to be trusted, the one that signs first."""

    authorities: bytes
    authority_key: bytes
    leaf: bytes
    leaf_key: bytes


def due(bundle: Bundle | None, host: str, now: datetime) -> bool:
    """Whether a leaf is wanted: there is none for this host, or a third of its life is left."""
    if bundle is None:
        return True
    leaf = x509.load_pem_x509_certificate(bundle.leaf)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return host not in names.get_values_for_type(x509.DNSName) or now > leaf.not_valid_after_utc - LEAF_LIVES / 3


def renewed(bundle: Bundle | None, host: str, now: datetime) -> Bundle:
    """A new leaf; of a new authority where there is none or the old one would not outlive the leaf."""
    if bundle is None or x509.load_pem_x509_certificates(bundle.authorities)[0].not_valid_after_utc < now + LEAF_LIVES:
        key = ec.generate_private_key(ec.SECP256R1())
        authority = _sign("muxel-webhook", key.public_key(), key, None, now, AUTHORITY_LIVES)
        old = b"".join(_pem(one) for one in x509.load_pem_x509_certificates(bundle.authorities)[:1]) if bundle else b""
        authorities, authority_key = _pem(authority) + old, _private(key)
    else:
        authorities, authority_key = bundle.authorities, bundle.authority_key
    signer = serialization.load_pem_private_key(authority_key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    own = ec.generate_private_key(ec.SECP256R1())
    leaf = _sign(host, own.public_key(), signer, x509.load_pem_x509_certificates(authorities)[0], now, LEAF_LIVES)
    return Bundle(authorities, authority_key, _pem(leaf), _private(own))


def _sign(
    name: str,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate | None,
    now: datetime,
    lives: timedelta,
) -> x509.Certificate:
    """A certificate; without an ``authority`` it is one itself."""
    # The common name of X.509 ends at 64 characters; clients look at the alternative names alone.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + lives)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(_usage(authority is None), critical=True)
    )
    if authority is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


# ------------------------------------------------------------------------------------------------------- the Secret

_KEYS = {"authorities": "ca.crt", "authority_key": "ca.key", "leaf": "tls.crt", "leaf_key": "tls.key"}


def write(bundle: Bundle) -> dict[str, str]:
    """The data of the Secret."""
    return {key: base64.b64encode(getattr(bundle, name)).decode() for name, key in _KEYS.items()}


def read(data: Mapping[str, str]) -> Bundle | None:
    """What ``write`` wrote and can be used; None for anything else, which is replaced."""
    try:
        bundle = Bundle(**{name: base64.b64decode(data[key], validate=True) for name, key in _KEYS.items()})
        authority = x509.load_pem_x509_certificate(bundle.authorities)
        leaf = x509.load_pem_x509_certificate(bundle.leaf)
        leaf.verify_directly_issued_by(authority)
        fits = _fits(authority, bundle.authority_key) and _fits(leaf, bundle.leaf_key)
    except (KeyError, ValueError, TypeError, InvalidSignature):
        return None
    return bundle if fits else None


def _fits(certificate: x509.Certificate, key: bytes) -> bool:
    private = serialization.load_pem_private_key(key, None)
    return isinstance(private, ec.EllipticCurvePrivateKey) and private.public_key() == certificate.public_key()


def at(seconds: float) -> datetime:
    """Seconds since the epoch as the moment that certificates are dated by."""
    return datetime.fromtimestamp(seconds, UTC)
