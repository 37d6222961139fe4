from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from auditor.errors import ProtocolError
from auditor.oci.jws import jwk_of, libtrust_key_id, rfc7638_thumbprint
from auditor.wire.token_keys import KeySet, Verification, verify_token
from tests import jose
from tests.jose import NOW

KEY, OTHER = jose.key_for("ES256"), jose.key_for("ES256", 1)
RSA = jose.key_for("RS256")
KEYS = KeySet.from_bytes(jose.pem(KEY))


def verify(
    token: str,
    keys: KeySet = KEYS,
    audience: str | None = "registry.example.com",
    now: float = NOW,
) -> Verification:
    return verify_token(token, keys, audience=audience, now=now)


def cert_pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


# -- key ids -------------------------------------------------------------------


def test_the_libtrust_id_of_a_known_key() -> None:
    # From the token in Docker's knowledge base article "How do I use API V2 with DTR?"
    keys = KeySet.from_bytes(
        b'{"crv":"P-256","kty":"EC","x":"zAXADI9g12Lu5mc1PoeYg5os_e2x6Cq99QZRC1ANfNs",'
        b'"y":"ySbGwOY-jllY2uj6uIkMw9rnRf-XSDMKi_6Y36hKr60"}'
    )
    assert (
        libtrust_key_id(keys.keys[0].key)
        == "NNZX:KH7V:FBJT:4BAH:WEYL:F2V4:RHWJ:ADF3:UAAE:7JEP:6TAU:FCAO"
    )


def test_the_thumbprint_of_rfc_7638_section_3_1() -> None:
    example = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7"
        "aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXA"
        "rwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7"
        "d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lF"
        "d2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert rfc7638_thumbprint(example) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "RS256", "EdDSA"])
def test_a_key_is_found_by_each_of_its_ids(algorithm: str) -> None:
    key = jose.key_for(algorithm)
    own = jose.jwk(key)
    keys = KeySet.from_bytes(jwks(own | {"kid": "mine"}))
    assert [jwk_of(each.key) for each in keys.keys] == [jwk_of(key.public_key())]
    expected = (jose.libtrust_id(key), rfc7638_thumbprint(own), "mine")
    assert keys.keys[0].ids == expected


# -- reading keys --------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        jose.pem(KEY),
        jose.pem(KEY).replace(b"\n", b"\r\n"),
        b"# the token service\n" + jose.pem(KEY) + b"\n" + jose.pem(RSA),
        jose.pem(RSA) + cert_pem(jose.certificate(KEY, "auth")),
        cert_pem(jose.certificate(KEY, "auth")) * 2,
        jwks(jose.jwk(KEY)),
        b" \n" + json.dumps(jose.jwk(KEY)).encode(),
        jwks(jose.jwk(RSA), jose.jwk(KEY, alg="ES256", use="sig", kid="k")),
        jwks({"kty": "oct", "k": "AAAA"}, jose.jwk(KEY), {"kty": "unheard of"}),
        jwks(jose.jwk(OTHER, use="enc"), jose.jwk(KEY)),
    ],
)
def test_keys_are_read_from_pem_bundles_and_jwks(data: bytes) -> None:
    keys = KeySet.from_bytes(data)
    assert [jose.libtrust_id(KEY) in each.ids for each in keys.keys].count(True) == 1
    assert verify(jose.token(jose.claims(), KEY), keys).verified


PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DSA = dsa.generate_private_key(1024)  # noqa: S505 - of a type that is refused
KOBLITZ = ec.generate_private_key(ec.SECP256K1())


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "the file is neither PEM with public keys or certificates nor a JWKS"),
        (b"\x30\x59\x00", "the file is neither PEM"),
        (b"ssh-ed25519 AAAA", "the file is neither PEM"),
        (
            b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----",
            "the file is neither",
        ),
        (PRIVATE, "it contains a private key"),
        (jose.pem(KEY) + PRIVATE, "it contains a private key"),
        (jose.pem(KEY)[:40], "the file is neither PEM"),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
            "the PUBLIC KEY at byte 0: it cannot be read",
        ),
        (
            b"\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "the CERTIFICATE at byte 1: it cannot be read",
        ),
        (jose.pem(DSA), "the PUBLIC KEY at byte 0: keys of this type are not supp"),  # type: ignore[arg-type]
        (jose.pem(KOBLITZ), "keys on the curve secp256k1 are not supported"),
        (b'{"keys":', "the file is not JSON"),
        (b"{}", "the file contains no public key for signatures"),
        (jwks(), "the file contains no public key for signatures"),
        (b'{"keys":{}}', 'the "keys" of the file is not a list'),
        (
            jwks({"kty": "oct", "k": "AAAA"}),
            "the file contains no public key for signatures",
        ),
        (jwks({"kty": ["EC"]}), "the file contains no public key for signatures"),
        (jwks({"kty": "EC", "crv": "P-256", "x": "AA"}), "the JWK is invalid"),
        (jwks({"kty": "RSA", "n": "AA", "e": "!"}), "the JWK is invalid"),
        (jwks(jose.jwk(KEY, d="AAAA")), "it contains a private key"),
    ],
)
def test_a_file_without_usable_keys_is_refused(data: bytes, detail: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        KeySet.from_bytes(data)
    assert caught.value.detail.startswith("the token keys cannot be used: ")
    assert detail in caught.value.detail


# -- signatures ----------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    ["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "EdDSA"],
)
def test_a_token_signed_by_a_trusted_key_is_verified(algorithm: str) -> None:
    key = jose.key_for(algorithm)
    keys = KeySet.from_bytes(jose.pem(OTHER) + jose.pem(key))
    token = jose.token(jose.claims(), key, algorithm=algorithm)
    assert verify(token, keys) == Verification(
        verified=True,
        reason=f"signed by the trusted key {jose.libtrust_id(key)}",
        key_id=jose.libtrust_id(key),
    )


@pytest.mark.parametrize(
    "header",
    [
        {"kid": jose.libtrust_id(KEY)},
        {"kid": rfc7638_thumbprint(jose.jwk(KEY))},
        {"jwk": jose.jwk(KEY)},
        {"jwk": jose.jwk(KEY, kid=jose.libtrust_id(KEY)), "kid": jose.libtrust_id(KEY)},
        {"jwk": jose.jwk(KEY, kid="a name of its own")},
        {"kid": jose.libtrust_id(KEY), "jku": "http://169.254.169.254/keys"},
    ],
)
def test_the_header_selects_one_of_the_trusted_keys(header: dict[str, Any]) -> None:
    keys = KeySet.from_bytes(jose.pem(OTHER) + jose.pem(RSA) + jose.pem(KEY))
    assert verify(jose.token(jose.claims(), KEY, **header), keys).verified


def hmac_token(secret: bytes) -> str:
    """A token signed with HMAC and the public key as its secret."""
    body = jose.unsigned_token({"alg": "HS256"}, jose.claims(), "").rstrip(".")
    made = jwt.get_algorithm_by_name("HS256")
    return f"{body}.{jose.b64(made.sign(body.encode(), secret))}"


GOOD = jose.token(jose.claims(), KEY)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("opaque", "the token is not a readable JWT"),
        (jose.token(jose.claims(), OTHER), "the signature does not match"),
        (GOOD[:-2] + ("AA" if GOOD[-2:] != "AA" else "BB"), "the signature does not"),
        (GOOD.rpartition(".")[0] + ".", "the signature does not match"),
        (GOOD + "!", "the signature is not base64url: it contains characters"),
        (GOOD + "=", "the signature"),
        (jose.token(jose.claims(), RSA, algorithm="RS256"), "the algorithm 'RS256'"),
        (jose.unsigned_token({"alg": "none"}, jose.claims(), ""), "the algorithm 'no"),
        (jose.unsigned_token({"alg": "None"}, jose.claims(), ""), "the algorithm 'No"),
        (jose.unsigned_token({}, jose.claims()), "the algorithm None does not fit"),
        (jose.unsigned_token({"alg": ["ES256"]}, jose.claims()), "the algorithm ['"),
        (hmac_token(jose.pem(KEY)), "the algorithm 'HS256' does not fit the key"),
        (jose.token(jose.claims(), KEY, kid="x"), "the token's key 'x' is not among"),
        (jose.token(jose.claims(), KEY, kid=""), "the token's key '' is not among"),
        (jose.unsigned_token({"kid": 7}, {}), "the token's key 7 is not among"),
        (
            jose.token(jose.claims(), OTHER, jwk=jose.jwk(OTHER)),
            f"the token's key '{jose.libtrust_id(OTHER)}' is not among",
        ),
        (
            # Another key with the id of the trusted key.
            jose.token(
                jose.claims(),
                OTHER,
                kid=jose.libtrust_id(KEY),
                jwk=jose.jwk(OTHER, kid=jose.libtrust_id(KEY)),
            ),
            f"the token's key '{jose.libtrust_id(OTHER)}' is not among",
        ),
        (
            jose.token(jose.claims(), OTHER, kid=jose.libtrust_id(KEY)),
            "the signature does not match",
        ),
        (jose.unsigned_token({"jwk": {}}, {}), "keys of type None are not supported"),
        (
            jose.token(jose.claims(), KEY, crit=["exp2"], exp2=1),
            "the token needs extensions that are not supported",
        ),
    ],
    # Keys differ in every process; test ids must not.
    ids=lambda value: "case",  # pytest numbers them
)
def test_a_token_signed_by_another_key_is_not_verified(token: str, reason: str) -> None:
    result = verify(token)
    assert not result.verified
    assert result.reason.startswith(reason)


def test_all_keys_are_tried_if_the_header_selects_none() -> None:
    keys = KeySet.from_bytes(jose.pem(OTHER) + jose.pem(KEY))
    assert verify(GOOD, keys).key_id == jose.libtrust_id(KEY)


# -- claims --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"exp": int(NOW)}, None),  # a minute of leeway
        ({"exp": int(NOW) - 59}, None),
        ({"exp": int(NOW) - 60}, "the token has expired"),
        ({"exp": "-"}, None),
        ({"exp": None}, None),
        ({"exp": "soon"}, "the token's exp is not a time"),
        ({"exp": [1]}, "the token's exp is not a time"),
        ({"exp": True}, "the token's exp is not a time"),
        ({"nbf": int(NOW) + 60}, None),
        ({"nbf": int(NOW) + 61}, "the token is not valid yet"),
        ({"nbf": {}}, "the token's nbf is not a time"),
        ({"iat": int(NOW) + 61}, "the token was issued in the future"),
        ({"aud": ["x", "registry.example.com"]}, None),
        ({"aud": "x"}, "the token is not for the service 'registry.example.com'"),
        ({"aud": "-"}, "the token is not for the service 'registry.example.com'"),
        ({"aud": {"a": 1}}, "the token is not for the service"),
        ({"sub": None, "jti": None}, None),
        ({"access": "nonsense"}, None),
    ],
)
def test_the_claims_are_checked_at_the_time_given(
    changes: dict[str, Any], reason: str | None
) -> None:
    made = jose.claims(**changes)
    body = jose.unsigned_token({"alg": "ES256"}, made, "").rstrip(".")
    signature = jwt.get_algorithm_by_name("ES256").sign(body.encode(), KEY)
    result = verify(f"{body}.{jose.b64(signature)}")
    assert result.verified is (reason is None)
    if reason is not None:
        assert result.reason.startswith(reason)
    assert result.key_id == jose.libtrust_id(KEY)


def test_the_audience_is_checked_only_if_given() -> None:
    token = jose.token(jose.claims(aud="x", iss="y"), KEY)
    assert verify(token, audience=None).verified


# -- x5c -----------------------------------------------------------------------

ROOT, MIDDLE, LEAF = (jose.key_for("ES256", number) for number in (10, 11, 12))
ROOT_CERT = jose.certificate(ROOT, "root", ca=True)
MIDDLE_CERT = jose.certificate(MIDDLE, "middle", issuer=(ROOT, "root"), ca=True)
LEAF_CERT = jose.certificate(LEAF, "leaf", issuer=(MIDDLE, "middle"))
DAY = timedelta(days=1)


def chain_token(*chain: x509.Certificate) -> str:
    return jose.token(jose.claims(), LEAF, x5c=jose.x5c(*chain))


@pytest.mark.parametrize(
    ("chain", "trusted"),
    [
        ([LEAF_CERT, MIDDLE_CERT, ROOT_CERT], [ROOT_CERT]),
        ([LEAF_CERT, MIDDLE_CERT], [ROOT_CERT]),
        ([LEAF_CERT], [MIDDLE_CERT]),
        ([LEAF_CERT, MIDDLE_CERT], [MIDDLE_CERT]),
        ([LEAF_CERT], [LEAF_CERT]),
        ([LEAF_CERT], [jose.certificate(OTHER, "other", ca=True), LEAF_CERT]),
    ],
)
def test_a_chain_that_leads_to_a_trusted_certificate_is_verified(
    chain: list[x509.Certificate], trusted: list[x509.Certificate]
) -> None:
    keys = KeySet.from_bytes(cert_pem(*trusted))
    result = verify(chain_token(*chain), keys)
    assert result.reason == f"signed by the trusted key {jose.libtrust_id(LEAF)}"


NO_LEAD = "the certificate chain in x5c does not lead to a trusted one"
SELF_SIGNED = jose.certificate(LEAF, "leaf")
NOT_CA = jose.certificate(MIDDLE, "middle", issuer=(ROOT, "root"))
NOT_SIGNER = jose.certificate(
    MIDDLE,
    "middle",
    issuer=(ROOT, "root"),
    ca=True,
    more=[
        (
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            True,
        )
    ],
)
UNKNOWN_CRITICAL = jose.certificate(
    LEAF,
    "leaf",
    issuer=(MIDDLE, "middle"),
    more=[(x509.NameConstraints([x509.DNSName("a")], None), True)],
)
EXPIRED = jose.certificate(
    LEAF,
    "leaf",
    issuer=(MIDDLE, "middle"),
    from_=jose.NOON - 3 * DAY,
    until=jose.NOON - DAY,
)


@pytest.mark.parametrize(
    ("chain", "trusted", "reason"),
    [
        ([SELF_SIGNED], [ROOT_CERT], NO_LEAD),
        ([SELF_SIGNED], [jose.certificate(OTHER, "leaf", ca=True)], NO_LEAD),
        ([LEAF_CERT], [ROOT_CERT], NO_LEAD),
        ([LEAF_CERT, ROOT_CERT], [ROOT_CERT], NO_LEAD),
        ([LEAF_CERT, MIDDLE_CERT, ROOT_CERT], [SELF_SIGNED], NO_LEAD),
        ([LEAF_CERT, NOT_CA], [ROOT_CERT], "a certificate in the chain may not issue"),
        ([LEAF_CERT], [NOT_CA], "a certificate in the chain may not issue"),
        ([LEAF_CERT, NOT_SIGNER], [ROOT_CERT], "a certificate in the chain may not"),
        ([UNKNOWN_CRITICAL], [MIDDLE_CERT], "a certificate has a critical extension"),
        ([EXPIRED], [MIDDLE_CERT], "a certificate is only valid from 2026-11-21 to"),
        ([MIDDLE_CERT], [ROOT_CERT], "the signature does not match"),
    ],
)
def test_a_chain_that_does_not_lead_to_a_trusted_certificate_is_not_verified(
    chain: list[x509.Certificate], trusted: list[x509.Certificate], reason: str
) -> None:
    result = verify(chain_token(*chain), KeySet.from_bytes(cert_pem(*trusted)))
    assert not result.verified
    assert result.reason.startswith(reason)


@pytest.mark.parametrize(
    ("x5c", "reason"),
    [
        ([], "x5c is not a list of 1 to 10 certificates"),
        ("AAAA", "x5c is not a list of 1 to 10 certificates"),
        (["AAAA"] * 11, "x5c is not a list of 1 to 10 certificates"),
        ([7], "x5c contains something that is not a certificate"),
        (["****"], "x5c contains something that is not a certificate"),
        (
            [base64.b64encode(b"x").decode()],
            "x5c contains something that is not a cert",
        ),
    ],
)
def test_an_invalid_chain_is_not_verified(x5c: object, reason: str) -> None:
    # A trusted `jwk` does not help, because x5c takes precedence.
    token = jose.token(jose.claims(), KEY, x5c=x5c, jwk=jose.jwk(KEY))
    result = verify(token)
    assert not result.verified
    assert result.reason.startswith(reason)
