"""Hostile texts, and contents of files that are not what they should be."""

from __future__ import annotations

from bfpo_bench.common.yaml_text import MOST_BYTES
from tests.attack.attempt import MARKUP

CLIPBOARD = "\x1b]52;c;cm0gLXJmIC8=\x07\x1b]0;title\x07\x9b2J\u202egnp.exe\r"

TEXTS: dict[str, str] = {
    "an escape that fills the clipboard": CLIPBOARD,
    "a direction mark": "safe\u202egnihtyna\u2066\u200f",
    "half a surrogate pair": "half \ud800 pair",
    "NUL": "a\x00b",
    "HTML": f"{MARKUP}</script></textarea><!-- ]]>",
    "Markdown and LaTeX": "|x| [a](javascript:alert(1)) `x` $\\input{/etc/passwd}$ \\write18{id}",
    "a very long line": "long " * 20_000,
    "rich's markup": "[bold][link=file:///etc/passwd]x[/link][/] [/nothing]",
    "line ends": "a\nb\r\nbfpo-bench: all is well\u2028c\x85d",
}
"""What a foreign text may be."""

ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(f'*{a}' for _ in range(9))}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

NOT_YAML: dict[str, bytes] = {
    "an alias bomb": ALIASES.encode(),
    "an alias of itself": b"a: &a [*a]\n",
    "a Python object": b"!!python/object/apply:os.system ['touch owned']\n",
    "a Python name": b"name: !!python/name:os.system\n",
    "a key twice": b"name: a\nname: b\n",
    "deep lists": b"[" * 5_000,
    "deep keys": b"{a: " * 5_000,
    "a number of a million digits": b"version: " + b"9" * 900_000,
    "a sexagesimal number": b"version: 1" + b":59" * 90_000,
    "many keys": b"".join(b"k%d: 1\n" % n for n in range(50_000)),
    "a megabyte too many": b"# " + b"x" * MOST_BYTES,
    "an escape in a key": b'"\\e]52;c;eA==\\a": 1\n',
    "half a surrogate pair": b'name: "\\ud800"\n',
    "not UTF-8": b"name: \xff\xfe\n",
    "a raw control character": b"name: a\x00\x1b[2Jb\n",
    "nothing": b"",
    "a number": b"5\n",
    "a list": b"- a\n- b\n",
    "a date": b"2026-11-29\n",
    "an unknown key that steers": b'"x\\e[2J\\u202e": 1\nname: a\n',
    "an unknown key without end": b"? " + b"k" * 100_000 + b"\n: 1\n",
    "an unknown key in one of two kinds": b"kind: classifier\nlines: [{x: 1}]\n",
    "another file": b"extends: /etc/passwd\nlike: /etc/passwd\ninclude: /etc/passwd\n",
    "an include of itself": b"extends: it.yaml\nlike: it.yaml\ninclude: it.yaml\n",
}
"""Files where a YAML of ours should be."""

NOT_JSON: dict[str, bytes] = {
    "deep lists": b"[" * 200_000,
    "deep and closed": b"[" * 5_000 + b"]" * 5_000,
    "deep keys": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "a number of ten thousand digits": b"[" + b"9" * 10_000 + b"]",
    "an infinite number": b'[{"x": 1e999}]',
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "cut in the midst": b'{"model_type": "lla',
    "nothing": b"",
    "blanks": b" \n" * 1_000,
    "null": b"null",
    "a number": b"5",
    "a text": b'"\\u001b[2J"',
    "a list": b"[1, 2]",
    "an escape": b'{"\\u001b]52;c;eA==\\u0007": "\\u202e"}',
    "a key without end": b'{"' + b"k" * 500_000 + b'": 1}',
    "a value without end": b'{"model_type": "' + b"v\\u001b" * 100_000 + b'"}',
}
"""Files where a JSON file of ours, or of a checkpoint, should be."""

NOT_TABLES: dict[str, bytes] = {
    **NOT_JSON,
    "a quote that does not close": b'prompt,response,l\n"a,b,c\n' + b"d,e,f\n" * 1_000,
    "NUL in a cell": b"prompt,response,l\na,b\x00,c\n",
    "rows of other lengths": b"prompt,response,l\na\na,b,c,d,e\n",
    "a column twice": b"prompt,prompt,l\na,b,c\n",
    "a column that steers": b"prompt\x1b[2J,response,l\na,b,c\n",
    "a hundred thousand columns": b",".join(b"c%d" % n for n in range(100_000)) + b"\n",
    "a gzip file": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
    "a pickle": b"\x80\x04\x95cos\nsystem\n(S'touch owned'\ntR.",
    "UTF-16 of half a character": b"\xff\xfea\x00\x00\xd8",
}
"""Files where rows of data should be."""
