"""SM2 signatures (GB/T 32918.2, with SM3 and the id of RFC 8998), verified.

Part of the offline verifier: standard library and `cryptography` only, which has SM3 and no SM2. Nothing here is
secret, so nothing has to take the same time; nothing here can sign.
"""

from __future__ import annotations

from typing import Final

from gateway.audit.suites import sm3

ID: Final = b"1234567812345678"
"""Of the signer, where nobody says otherwise (GM/T 0009, RFC 8998)."""
PUBLIC_BYTES: Final = 65
"""0x04, then both coordinates: other spellings of a point are none here."""
SIGNATURE_BYTES: Final = 64
"""r and s, 32 bytes each, big-endian."""

P: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFF_00000000_FFFFFFFF_FFFFFFFF
A: Final = P - 3
B: Final = 0x28E9FA9E_9D9F5E34_4D5A9E4B_CF6509A7_F39789F5_15AB8F92_DDBCBD41_4D940E93
N: Final = 0xFFFFFFFE_FFFFFFFF_FFFFFFFF_FFFFFFFF_7203DF6B_21C6052B_53BBF409_39D54123
G: Final = (
    0x32C4AE2C_1F198119_5F990446_6A39C994_8FE30BBF_F2660BE1_715A4589_334C74C7,
    0xBC3736A2_F4F6779C_59BDCEE3_6B692153_D0A9877C_C62A4740_02DF32E5_2139F0A0,
)

Point = tuple[int, int]
_Scaled = tuple[int, int, int]
"""(x, y, z) is the point (x / z², y / z³); z = 0 is the point at infinity."""
_INFINITY: Final = (1, 1, 0)


def read_point(public: bytes) -> Point:
    """The point of a public key. Raises ValueError for what is none on the curve. Every such point but infinity, which
    cannot be written so, is of the right order: the curve has no other."""
    if len(public) != PUBLIC_BYTES or public[0] != 0x04:
        raise ValueError("not an SM2 key")
    x, y = int.from_bytes(public[1:33], "big"), int.from_bytes(public[33:], "big")
    if x >= P or y >= P or (y * y - (x * x * x + A * x + B)) % P:
        raise ValueError("not a point of SM2's curve")
    return x, y


def holds(public: bytes, signature: bytes, content: bytes, identity: bytes = ID) -> bool:
    """Whether `signature` is one of this key over `content`. Raises ValueError for what is no key."""
    point = read_point(public)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    t = (r + s) % N
    if len(signature) != SIGNATURE_BYTES or not (0 < r < N and 0 < s < N) or t == 0:
        return False
    x, _, z = _sum_of_multiples(s, G, t, point)
    if z == 0:
        return False
    hashed = int.from_bytes(sm3(_about(public, identity) + content), "big")
    return (hashed + x * pow(z, -2, P) % P) % N == r


def _about(public: bytes, identity: bytes) -> bytes:
    """Z: who signs, on which curve, by which key."""
    numbers = b"".join(number.to_bytes(32, "big") for number in (A, B, *G))
    return sm3((8 * len(identity)).to_bytes(2, "big") + identity + numbers + public[1:])


def _sum_of_multiples(s: int, one: Point, t: int, other: Point) -> _Scaled:
    """s·one + t·other, bit by bit from the top, both at once."""
    first, second = (*one, 1), (*other, 1)
    terms = (_INFINITY, first, second, _sum(first, second))
    total = _INFINITY
    for place in reversed(range(max(s.bit_length(), t.bit_length()))):
        total = _sum(_double(total), terms[(s >> place & 1) | (t >> place & 1) << 1])
    return total


def _double(point: _Scaled) -> _Scaled:
    x, y, z = point
    if z == 0:  # no point of odd order is its own opposite, so y is not 0
        return _INFINITY
    square = y * y % P
    middle = 4 * x * square % P
    slope = 3 * (x - z * z) * (x + z * z) % P  # 3x² + Az⁴, for A = -3
    new_x = (slope * slope - 2 * middle) % P
    return new_x, (slope * (middle - new_x) - 8 * square * square) % P, 2 * y * z % P


def _sum(one: _Scaled, other: _Scaled) -> _Scaled:
    (x1, y1, z1), (x2, y2, z2) = one, other
    if z1 == 0:
        return other
    if z2 == 0:
        return one
    square1, square2 = z1 * z1 % P, z2 * z2 % P
    across, up = x1 * square2 % P, y1 * square2 * z2 % P
    width, height = (x2 * square1 - across) % P, (y2 * square1 * z1 - up) % P
    if width == 0:
        return _INFINITY if height else _double(one)
    narrow = width * width % P
    cube, part = narrow * width % P, across * narrow % P
    new_x = (height * height - cube - 2 * part) % P
    return new_x, (height * (part - new_x) - up * cube) % P, z1 * z2 * width % P
