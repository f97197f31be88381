"""Session tokens: what the first frame of a storyboard settled, sealed for the caller to give back with the next one.

``exchange`` opens the ``x-muxel-session`` of a request and, where the policy asks for it, hands one out with the
answer. A token is sealed with an AEAD, bound to its caller and enough for any replica: nothing is stored. A value that
is no token is a name of the caller's own choice. What a session does to a request is in ``policies.session``.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Iterable
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from adapters.ir import Done, InvalidRequest, Media, MediaRequest
from policies.decision import Candidate, Decision, Session
from proxy.jobs import Sealer

HEADER = "x-muxel-session"
PREFIX = "sealed."
_NONCE = 12
_NAME = 200  # characters that are kept of a name: the whole is a header, and proxies limit those
_URLS = 1000  # characters of style references that are kept: pictures given as bytes are not
_READ = 64 * 1024  # bytes of each reference that its digest is made of, beside its length


def open_session(request: MediaRequest, sealer: Sealer) -> Session | None:
    """What the caller's token says; None without one. Raises InvalidRequest for one that is not this caller's."""
    text = request.ask.session
    if not text.startswith(PREFIX):
        return None
    sealed = text.removeprefix(PREFIX)
    try:
        box = base64.urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        opened = _aead(sealer).decrypt(box[:_NONCE], box[_NONCE:], _bytes(request.ask.caller))
    except (InvalidTag, ValueError, binascii.Error):
        message = f"{HEADER} is no token of this caller, or the key it was sealed with has changed"
        raise InvalidRequest(HEADER, message) from None
    name, model, seed, style, urls, digest = json.loads(opened)
    strayed = bool(digest and request.references) and digest != _digest(request.references)
    return Session(name, model, seed, style, tuple(urls), digest, strayed)


def token(request: MediaRequest, decision: Decision, made_by: Candidate, done: Done | None, sealer: Sealer) -> str:
    """For the caller's next frame; the one it came with, where it came with one. ``done`` is None where the pictures
    are not there yet: a seed that the provider picks then is not known."""
    if request.ask.session.startswith(PREFIX):
        return request.ask.session
    seed = request.seed
    if seed is None and done and done.artifacts:
        seed = done.artifacts[0].seed
    urls = [media.url for media in request.style_references]
    settled = [
        request.ask.session[:_NAME],
        made_by.deployment.model.id,
        seed,
        decision.rule if decision.rewrite else "",
        urls if all(urls) and sum(map(len, urls)) <= _URLS else [],
        _digest(request.references) if request.references else "",
    ]
    nonce = secrets.token_bytes(_NONCE)
    box = _aead(sealer).encrypt(nonce, json.dumps(settled).encode(), _bytes(request.ask.caller))
    return PREFIX + base64.urlsafe_b64encode(nonce + box).decode().rstrip("=")


def _aead(sealer: Sealer) -> ChaCha20Poly1305:
    """With a key of its own: no job id is ever taken for a session."""
    return ChaCha20Poly1305(sealer.key_of("sessions"))


def _digest(pictures: Iterable[Media]) -> str:
    digest = blake2b(digest_size=8)
    for picture in pictures:
        digest.update(b"%d %s %s\n" % (len(picture.data), _bytes(picture.url), picture.data[:_READ]))
    return digest.hexdigest()


def _bytes(text: str) -> bytes:
    """A header need not be valid UTF-8."""
    return text.encode("utf-8", "surrogatepass")
