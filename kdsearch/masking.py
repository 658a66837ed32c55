"""Passwords in addresses are for the server alone: what is said, logged or written shows `***` in their place."""

import re

_IN_ADDRESS = re.compile(r"(:/+[^\s:/@]*:)\S*(?=@)")
_IN_QUERY = re.compile(r"([?&](?:password|passwd|pwd|sslpassword|passfile)=)[^&\s'\")]*", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` with the passwords of all URLs in it replaced. A password that holds `@` or `/`, as it should not, is
    replaced whole: rather too much than too little.
    """
    return _IN_QUERY.sub(r"\1***", _IN_ADDRESS.sub(r"\1***", text))


def without_user(address: str) -> str:
    """A URL without its user and password, to be followed by a browser that has its own."""
    return re.sub(r"(://)[^/\s]*@", r"\1", address)
