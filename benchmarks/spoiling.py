"""Ways to spoil what a program is given: bytes, text, JSON, values. All draw from the generator they are handed."""

import json
import math
from random import Random
from typing import Any

NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 10**6, -(10**9), 10**30, 0.0, -0.0, 0.5, 1e-300, 1e300, -2.5, 1.0),
    *(math.nan, math.inf, -math.inf, "", " ", "x", "none", "0.5", "../..", "a\0b", "\u202e", "\ud800", "é" * 300),
    *((), [], {}, (1,), [1], [[]], {"kind": "x"}, {"a": math.nan}, b"bytes", object, int, print, 1j, {1, 2}),
)
"""Out of range, of another type, or nothing at all; small enough that taking one at its word costs no minutes."""

TEXTS = (
    *(
        "",
        "0",
        "-1",
        "1",
        "3",
        "1e9",
        "nan",
        "inf",
        "-inf",
        "0.5",
        "None",
        "true",
        "--",
        "-",
        "x",
        "small",
        "../..",
        "/",
    ),
    *("/dev/null", "/proc/self/mem", "a b", "é", "\udcff", "\u202e", "\x1b[31m", "sqlite://", "sqlite:////dev/null"),
    *(
        "postgresql://u:p@127.0.0.1:1/x",
        "nothing://",
        "%s%n",
        "{x}",
        "$(id)",
        "http://127.0.0.1:1",
        "A" * 5000,
        "9" * 500,
    ),
)


def spoiled_bytes(random: Random, content: bytes) -> bytes:
    """Cut off, flipped, overwritten, doubled, emptied, or of another kind altogether."""
    changed = bytearray(content)
    match random.randrange(7):
        case 0:
            return content[: random.randrange(len(content) + 1)]
        case 1 | 2:
            for _ in range(random.choice((1, 1, 4, 64))):
                if changed:
                    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        case 3:
            place, length = random.randrange(len(changed) + 1), random.choice((1, 4, 8, 512))
            changed[place : place + length] = random.choice((b"\0", b"\xff")) * length
        case 4:
            place = random.randrange(len(changed) + 1)
            changed[place:place] = random.randbytes(random.choice((1, 3, 100)))
        case 5:
            return random.randbytes(random.choice((0, 1, 16, 4096)))
        case _:
            head = random.randrange(min(len(changed), 64) + 1)  # the header is where sizes stand
            changed[head : head + 1] = random.randbytes(1)
    return bytes(changed)


def spoiled_json(random: Random, value: Any) -> Any:
    """The same with one part, anywhere within, gone, added or replaced."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(sorted(value))
        match random.randrange(8):
            case 0:
                return {key: part for key, part in value.items() if key != name}
            case 1:
                return {**value, random.choice(("x", "..", "", "a\0b")): random_json(random)}
            case _:
                return {**value, name: spoiled_json(random, value[name])}
    if isinstance(value, list) and value and random.random() < 0.7:
        place = random.randrange(len(value))
        return [*value[:place], spoiled_json(random, value[place]), *value[place + 1 :]]
    if isinstance(value, str) and value.startswith(("{", "[")) and random.random() < 0.7:  # JSON within JSON
        try:
            return json.dumps(spoiled_json(random, json.loads(value)))
        except ValueError:
            pass
    return random_json(random)


def random_json(random: Random) -> Any:
    return random.choice([value for value in NASTY if isinstance(value, (str, int, float, list, dict, type(None)))])


def spoiled_text(random: Random, text: str) -> str:
    """Python source with a line or a word of it gone, doubled, moved or replaced."""
    lines = text.split("\n")
    place = random.randrange(len(lines))
    match random.randrange(8):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, lines[random.randrange(len(lines))])
        case 2:
            lines[place] = lines[place][: random.randrange(len(lines[place]) + 1)]
        case 3:
            lines[place] = f"    {lines[place]}"
        case 4:
            lines.insert(place, random.choice(RUBBISH))
        case 5:
            words = lines[place].split(" ")
            words[random.randrange(len(words))] = random.choice(RUBBISH)
            lines[place] = " ".join(words)
        case _:
            lines[place] = _other_value(random, lines[place])
    return "\n".join(lines)


RUBBISH = (
    *(
        "raise RuntimeError('mine')",
        "import nothing_of_that_name",
        "raise SystemExit(3)",
        "1 / 0",
        "\0",
        "\u202e",
        "\ud800",
    ),
    *(
        "def",
        "return None",
        "assert False",
        "x = x",
        "()",
        "None",
        "lambda: 0",
        "'unclosed",
        "((((",
        "exit()",
        "del data",
    ),
    *(
        "raise KeyError",
        "study = None",
        "data = 3",
        "def study(): return {}",
        "raise Exception('\\x1b[31m')",
        "yield 1",
    ),
)


def _other_value(random: Random, line: str) -> str:
    """One number, string or name after `=`, `(` or `,` replaced by a nasty value."""
    places = [k + 1 for k, sign in enumerate(line) if sign in "=(,"]
    if not places:
        return f"{line}  # nothing to replace"
    place = random.choice(places)
    end = next((k for k in range(place, len(line)) if line[k] in ",)"), len(line))
    plain = [value for value in NASTY if isinstance(value, (int, str, type(None), tuple, list, dict))]
    value = random.choice([*plain, 1e300])
    return f"{line[:place]}{value!r}{line[end:]}"
