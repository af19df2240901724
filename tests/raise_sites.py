"""Every place of the package that makes an error for a user, and what the tests read of it.

Both sides are read from source, nothing is run: the sentences from the calls that build a
``BadInput`` or ``RunFailed`` (or a kind of them, or call a function that returns one), the
readings from the string literals of the tests.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

GAP = "\0"
"""Stands in a sentence where the error puts a value."""

_ROOTS = ("BadInput", "RunFailed")
_NO_READERS = ("raise_sites.py", "test_every_error.py")  # their examples provoke nothing
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Site:
    """One place that makes an error.

    Attributes:
        file: path relative to the folder that was searched.
        line: of the call.
        sentence: the words that the code itself says, `GAP` for everything else.
    """

    file: str
    line: int
    sentence: str


@dataclass
class _Module:
    name: str
    tree: ast.Module
    functions: dict[str, _Function] = field(default_factory=dict)
    methods: dict[str, _Function] = field(default_factory=dict)


@dataclass
class _Makers:
    """Functions and methods that return an error for their callers to raise."""

    functions: list[_Function]
    methods: list[_Function]


def raise_sites(folder: Path) -> list[Site]:
    """The places under ``folder``; a function that only makes an error is none, its callers are."""
    modules = [_module(path, folder) for path in sorted(folder.rglob("*.py"))]
    kinds = _kinds(modules)
    makers = _Makers(
        [f for m in modules for f in m.functions.values() if _returned_kind(f) in kinds],
        [f for m in modules for f in m.methods.values() if _returned_kind(f) in kinds],
    )
    return [site for module in modules for site in _Reader(module, kinds, makers).sites()]


def literals(folder: Path) -> Iterator[str]:
    """The string literals of the files in ``folder``, but no docstrings.

    `GAP` stands for the values of f-strings and for what a pattern leaves open.
    """
    for path in sorted(folder.rglob("*.py")):
        if path.name in _NO_READERS:
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        passed_over = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            text = _literal(node)
            if text and id(node) not in passed_over:
                open_ = re.sub(r"\\[dwsb][+*]?|(?<!\\)\.[*+]\??|(?<!\\)\[[^]]*\][+*]?", GAP, text)
                # What a pattern escapes stands for itself.
                yield re.sub(r"\\([^\w\0])", r"\1", open_)


def _literal(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) or GAP for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def unread(sites: Iterable[Site], tests: Path) -> list[Site]:
    """The sites of whose sentence no test reads a part that is its alone, nor all of its parts.

    Such a part stands in no other sentence and is three words in a row, or a whole literal of two,
    or the two that all words before the first value are (``unknown task …``). Sentences that
    differ only in where the code itself puts a value (``--limit must be …`` and ``--⟨name⟩ must
    be …``) count as one. One without two words of its own only hands on what others say, and is
    passed over.
    """
    sites = list(sites)
    group = _groups({site.sentence for site in sites})
    owners: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    begins: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for sentence in group:
        parts = [part for part in sentence.split(GAP) if part]
        if not parts:
            continue
        begins[tuple(_words(parts[0]))].add(group[sentence])
        for words in map(_words, parts):
            for size in range(2, len(words) + 1):
                for run in _runs(words, size):
                    owners[run].add(group[sentence])
    texts = list(literals(tests))
    seen: set[str] = set()
    for literal in (piece for text in texts for piece in text.split(GAP)):
        words = _words(literal)
        found = [owners[run] for run in {tuple(words), *_runs(words, 3)} & owners.keys()]
        found += [begins[run] for run in _runs(words, 2) & begins.keys()]
        seen.update(*(readers for readers in found if len(readers) == 1))
    return [
        site
        for site in sites
        if any(len(_words(part)) > 1 for part in site.sentence.split(GAP))
        and group[site.sentence] not in seen
        and not any(_holds_all_of(text, site.sentence) for text in texts)
    ]


def _holds_all_of(text: str, sentence: str) -> bool:
    """Whether every part of a sentence stands in a text, one behind the other."""
    parts = [part for raw in sentence.split(GAP) if (part := raw.strip(" .,;:"))]
    if len(_words(" ".join(parts))) < 4 or not all(part in text for part in parts):
        return False
    return re.search(".*".join(map(re.escape, parts)), text, re.DOTALL) is not None


def _groups(sentences: set[str]) -> dict[str, str]:
    """One sentence to stand for each set of those that are the same but for values."""
    stands_for = {sentence: sentence for sentence in sentences}
    for general in sentences:
        parts = general.split(GAP)
        if len(parts) == 1 or max(len(_words(part)) for part in parts) < 4:
            continue
        pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
        for special in sentences:
            alike = special != general and all(part in special for part in parts)
            if alike and pattern.fullmatch(special):
                kept, given_up = sorted((stands_for[general], stands_for[special]))
                for sentence, representative in stands_for.items():
                    if representative == given_up:
                        stands_for[sentence] = kept
    return stands_for


def _words(text: str) -> list[str]:
    # Punctuation beside a word is no part of it; a lone mark is no word.
    return [word for raw in text.split() if (word := raw.strip(".,;:!?()'\"`^$"))]


def _runs(words: list[str], size: int) -> set[tuple[str, ...]]:
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def _module(path: Path, folder: Path) -> _Module:
    module = _Module(str(path.relative_to(folder)), ast.parse(path.read_text(encoding="utf-8")))
    for node in module.tree.body:
        if isinstance(node, _Function):
            module.functions[node.name] = node
        elif isinstance(node, ast.ClassDef):
            module.methods |= {f.name: f for f in node.body if isinstance(f, _Function)}
    return module


def _kinds(modules: Iterable[_Module]) -> set[str]:
    kinds = set(_ROOTS)
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                if bases & kinds:
                    kinds.add(node.name)
    return kinds


class _Reader:
    """Reads one module."""

    def __init__(self, module: _Module, kinds: set[str], makers: _Makers) -> None:
        self._module = module
        self._kinds = kinds
        self._makers = makers

    def sites(self) -> Iterator[Site]:
        for function in ast.walk(self._module.tree):
            makers = [*self._makers.functions, *self._makers.methods]
            if not isinstance(function, _Function) or function in makers:
                continue
            for call in _own_calls(function):
                if self._makes_error(call):
                    sentence = re.sub(f"{GAP}+", GAP, self._text(call, function, {}))
                    yield Site(self._module.name, call.lineno, sentence)

    def _makes_error(self, call: ast.Call) -> bool:
        return _name(call) in self._kinds or self._maker(call) is not None

    def _maker(self, call: ast.Call) -> _Function | None:
        name = _name(call)
        if isinstance(call.func, ast.Attribute):
            # Logs have a method `error` too.
            receiver = call.func.value
            if isinstance(receiver, ast.Name) and receiver.id.startswith("log"):
                return None
            known, own = self._makers.methods, self._module.methods
        else:
            known, own = self._makers.functions, self._module.functions
        if name in own or name.startswith("_"):
            return own[name] if own.get(name) in known else None
        return next((maker for maker in known if maker.name == name), None)

    def _text(self, node: ast.expr | None, scope: _Function, given: dict[str, str]) -> str:
        """What an expression says, as far as the source tells."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else GAP
        if isinstance(node, ast.JoinedStr):
            return "".join(self._text(part, scope, given) for part in node.values)
        if isinstance(node, ast.FormattedValue):
            return self._text(node.value, scope, given)
        if isinstance(node, ast.BinOp):
            return self._text(node.left, scope, given) + self._text(node.right, scope, given)
        if isinstance(node, ast.IfExp):
            return GAP.join(
                ["", self._text(node.body, scope, given), self._text(node.orelse, scope, given), ""]
            )
        if isinstance(node, ast.Name):
            return given[node.id] if node.id in given else self._assigned(node.id, scope)
        if isinstance(node, ast.Call):
            return self._said(node, scope, given)
        return GAP

    def _assigned(self, name: str, scope: _Function) -> str:
        values = [
            node.value
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
        ]
        said = [self._text(value, scope, {name: GAP}) for value in values]
        return GAP.join(["", *said, ""])

    def _said(self, call: ast.Call, scope: _Function, given: dict[str, str]) -> str:
        if _name(call) in self._kinds:
            return self._text(call.args[0] if call.args else None, scope, given)
        function = self._maker(call) or (
            self._module.functions.get(_name(call)) if isinstance(call.func, ast.Name) else None
        )
        if function is None or function is scope:
            return GAP
        names = [argument.arg for argument in function.args.args]
        if isinstance(call.func, ast.Attribute):
            names = names[1:]
        values = dict(zip(names, call.args, strict=False))
        values |= {word.arg: word.value for word in call.keywords if word.arg}
        handed = dict.fromkeys(names, GAP)
        handed |= {name: self._text(value, scope, given) for name, value in values.items()}
        returned = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
        return GAP.join(["", *(self._text(value, function, handed) for value in returned), ""])


def _own_calls(function: _Function) -> Iterator[ast.Call]:
    """Calls in a function, but not in the functions inside it."""
    waiting: list[ast.AST] = [*function.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Function):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def _returned_kind(function: _Function) -> str:
    return function.returns.id if isinstance(function.returns, ast.Name) else ""


def _name(call: ast.Call) -> str:
    if isinstance(call.func, ast.Name):
        return call.func.id
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""
