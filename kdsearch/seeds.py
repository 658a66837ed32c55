"""Seeds are derived, never drawn: the same words give the same seed on any machine."""

import hashlib


def derive(*words: object) -> int:
    """A seed in [0, 2^63) from the given words, in order."""
    digest = hashlib.sha256("/".join(str(word) for word in words).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
