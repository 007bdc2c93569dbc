"""SM2 for tests, written from GB/T 32918.2 in another way than the product's: affine points, one multiplication after
the other, from the low bits. It signs as well, which the product cannot."""

from __future__ import annotations

import hashlib
import secrets

p = 2**256 - 2**224 - 2**96 + 2**64 - 1
a, b = p - 3, int("28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93", 16)
n = int("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123", 16)
G = (
    int("32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7", 16),
    int("bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0", 16),
)
Affine = tuple[int, int] | None


def H(content: bytes) -> bytes:
    return hashlib.new("sm3", content).digest()


def add(one: Affine, two: Affine) -> Affine:
    if one is None or two is None:
        return two if one is None else one
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and (y1 + y2) % p == 0:
        return None
    slope = (3 * x1**2 + a) * pow(2 * y1, -1, p) if one == two else (y2 - y1) * pow(x2 - x1, -1, p)
    x = (slope**2 - x1 - x2) % p
    return x, (slope * (x1 - x) - y1) % p


def times(k: int, point: Affine) -> Affine:
    found: Affine = None
    while k:
        if k % 2:
            found = add(found, point)
        point, k = add(point, point), k // 2
    return found


def digest(public: bytes, content: bytes) -> int:
    """e, of Z and the message."""
    identity = b"1234567812345678"
    entl = len(identity) * 8
    curve = "".join(f"{each:064x}" for each in (a, b, *G))
    z = H(bytes([entl // 256, entl % 256]) + identity + bytes.fromhex(curve) + public[1:65])
    return int(H(z + content).hex(), 16)


def public_of(d: int) -> bytes:
    point = times(d, G)
    assert point is not None
    return b"\4" + bytes.fromhex(f"{point[0]:064x}{point[1]:064x}")


def sign(d: int, content: bytes, k: int | None = None) -> bytes:
    """With the k of an example, or any."""
    e, k = digest(public_of(d), content), k or secrets.randbelow(n - 1) + 1
    point = times(k, G)
    assert point is not None
    r = (e + point[0]) % n
    s = pow(1 + d, -1, n) * (k - r * d) % n
    assert 0 not in (r, s, (r + k) % n)
    return bytes.fromhex(f"{r:064x}{s:064x}")


def is_point(public: bytes) -> bool:
    if len(public) != 65 or public[0] != 4:
        return False
    x, y = int(public[1:33].hex(), 16), int(public[33:].hex(), 16)
    return max(x, y) < p and pow(y, 2, p) == (pow(x, 3, p) + a * x + b) % p


def good(public: bytes, signature: bytes, content: bytes) -> bool:
    if len(signature) != 64 or not is_point(public):
        return False
    x, y, r, s = (int(text.hex(), 16) for text in (public[1:33], public[33:], signature[:32], signature[32:]))
    if not 1 <= r <= n - 1 or not 1 <= s <= n - 1 or (r + s) % n == 0:
        return False
    point = add(times(s, G), times((r + s) % n, (x, y)))
    return point is not None and (digest(public, content) + point[0]) % n == r
