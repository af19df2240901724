"""What the site has that docs/ has not: each command's help, and the files that pages link to.

mkdocs calls the functions ``on_…`` (mkdocs.yml, ``hooks``). Pages are written for a reader of the
repository; a link that leads out of docs/ leads here to a page of that file, lines and all.
"""

from __future__ import annotations

import os.path
import posixpath
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename

from bfpo_bench.cli.app import COMMANDS, app

ROOT = Path(__file__).resolve().parents[1]
HELP = "reference/commands"
LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
ROLE = re.compile(r":(?:class|func|mod|data|meth|attr):<code>~?([\w.]+)</code>")
DIAGRAM = re.compile(r"^```mermaid\n(flowchart TB\n.*?)^```$", re.M | re.S)
TYPED = re.compile(r"(?:^(?: {4}|\$ )?|`)bfpo-bench (\w+)(?=[ `]|$)", re.M)
TOGETHER = re.compile(
    r"(<b><code><[^>]+>\w+,)(</[^>]+></code></b>)\s*\(<code><[^>]+>([^<]+)</[^>]+></code>\)"
)
CELL_CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
BREAKS = re.compile(r"::|[/_](?=\w)")
HELPED = re.compile(r"`bfpo-bench (\w+)(?: \w+)? --help`")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the commands where the navigation names their folder."""
    pages = [{"All commands": f"{HELP}/index.md"}, *(f"{HELP}/{name}.md" for name in COMMANDS)]

    def placed(entry: Any) -> Any:
        if isinstance(entry, dict):
            return {
                title: pages if below == HELP else placed(below) for title, below in entry.items()
            }
        return [placed(one) for one in entry] if isinstance(entry, list) else entry

    config.nav = placed(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of commands, and those of files outside that a page, or such a file, names."""
    files.append(File.generated(config, f"{HELP}/index.md", content=_all_commands()))
    for name in COMMANDS:
        files.append(File.generated(config, f"{HELP}/{name}.md", content=command_page(name)))
    waiting = [(ROOT / "docs" / page.src_uri) for page in files.documentation_pages()]
    waiting += [ROOT / name for name in ("CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md")]
    while waiting:
        file = waiting.pop()
        if not file.is_file():
            continue
        uri = uri_of(file)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=source_page(file)))
        if file.suffix == ".md":
            waiting += [place for place in linked(file) if uri_of(place) not in files.src_uris]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Has links lead to the pages that stand for files outside of docs/."""
    here = place_of(page.file.src_uri)
    if here.suffix != ".md" or not here.is_file():
        return markdown

    def led(found: re.Match[str]) -> str:
        start, path, anchor, end = found.groups()
        uri = uri_of((here.parent / path).resolve())
        relative = posixpath.relpath(uri, posixpath.dirname(page.file.src_uri))
        anchor = re.sub(r"^#L(\d+)$", r"#L-\1", anchor or "")
        return f"{start}{relative}{anchor}{end}"

    def helped(found: re.Match[str]) -> str:
        to = posixpath.relpath(f"{HELP}/{found[1]}.md", posixpath.dirname(page.file.src_uri))
        return f"[{found[0]}]({to})" if found[1] in COMMANDS else found[0]

    said = HELPED.sub(helped, LINK.sub(led, markdown))
    return DIAGRAM.sub(lambda found: picture(found[1]), said)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Makes links of docstrings' ``:class:`…```, where what they name stands on a page."""
    made = r'<autoref optional identifier="\1"><code>\1</code></autoref>'
    # Of attributes that share a line the last one is taken for the type.
    html = TOGETHER.sub(r"\1 \3\2", html)
    return CELL_CODE.sub(lambda one: BREAKS.sub(r"\g<0><wbr>", one[0]), ROLE.sub(made, html))


def picture(flowchart: str) -> str:
    """The SVG of a flowchart of floors: mermaid itself would be fetched by each reader."""
    floors = [names.split() for names in re.findall(r'"\]\n(.*?)\n  end', flowchart, re.S)]
    width, height, across, down = 96, 30, 800, 74
    centre = {
        name: (across * (2 * place + 1) // (2 * len(names)), down * floor + height)
        for floor, names in enumerate(floors)
        for place, name in enumerate(names)
    }
    lines = "".join(
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2 - height // 2}" marker-end="url(#tip)"/>'
        for one, other in re.findall(r"^  (\w+) --> (\w+)$", flowchart, re.M)
        for (x1, y1), (x2, y2) in [(centre[one], centre[other])]
    )
    boxes = "".join(
        f'<rect x="{x - width // 2}" y="{y - height // 2}" width="{width}" height="{height}"/>'
        f'<text x="{x}" y="{y + 5}">{name}</text>'
        for name, (x, y) in centre.items()
    )
    return (
        f'<svg class="floors" viewBox="0 0 {across} {down * len(floors)}" role="img">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>'
        f'<g class="arrows">{lines}</g><g>{boxes}</g></svg>'
    )


def place_of(uri: str) -> Path:
    """The file of the repository that a page is made of."""
    outside = uri.removeprefix("repository/")
    if outside == uri:
        return ROOT / "docs" / uri
    return ROOT / (outside if (ROOT / outside).is_file() else outside.removesuffix(".md"))


def uri_of(file: Path) -> str:
    """The page of a file of the repository."""
    path = Path(os.path.relpath(file, ROOT))
    if path.parts[0] == "docs":
        return path.relative_to("docs").as_posix()
    return f"repository/{path.as_posix()}{'' if path.suffix == '.md' else '.md'}"


def linked(file: Path) -> Iterator[Path]:
    """The files that a page of the repository links to."""
    for found in LINK.finditer(file.read_text(encoding="utf-8")):
        yield (file.parent / found[2]).resolve()


def source_page(file: Path) -> str:
    """A file's page: Markdown as it is, all else as a block whose lines are anchors."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    form = HtmlFormatter(cssclass="highlight", linespans="L", wrapcode=True)
    block = highlight(text, get_lexer_for_filename(file.name), form)
    name = file.relative_to(ROOT).as_posix()
    return f"---\ntitle: {name}\nsearch: {{exclude: true}}\n---\n# {name}\n\n{block}"


def _all_commands() -> str:
    said = "".join(
        f"[`bfpo-bench {name}`]({name}.md)\n:   {COMMANDS[name]}\n\n" for name in COMMANDS
    )
    return (
        "# Commands\n\nMade from what `bfpo-bench COMMAND --help` prints. Any command takes "
        f"`--debug` to show the traceback of a failure.\n\n{said}"
    )


def command_page(name: str) -> str:
    """A command's help as a page: each option a line that can be linked to."""
    root: Any = typer.main.get_command(app)
    context = typer.Context(root, info_name="bfpo-bench")
    said = list(_help(root.get_command(context, name), f"bfpo-bench {name}", 1))
    return "".join([said[0], _pages(name), *said[1:]])


def _pages(name: str) -> str:
    """Links to the pages where a command is typed: first its own, then where that is most often."""
    typed: dict[Path, int] = {}
    titles: dict[Path, str] = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        titles[page] = text.split("\n")[0].lstrip("# ")
        count = sum(of == name for of in TYPED.findall(text))
        if count and page.name != "notebook.md":
            typed[page] = count
    most = sorted(typed, key=lambda page: (page.stem != name, -typed[page]))[:6]
    return f"More: {' · '.join(f'[{titles[one]}](../../{one.name})' for one in most)}\n\n"


def _help(command: Any, called: str, level: int) -> Iterator[str]:
    context = typer.Context(command, info_name=called)
    yield f"{'#' * level} {called}\n\n{_text(command.help)}\n\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{called} {usage}\n```\n\n"
    yield _examples(command.epilog or "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record and parameter.name != "help":
            flags, said = record
            anchor = f"{called.split(' ', 1)[1]} {parameter.name}".replace(" ", "-")
            yield f"`{flags}` {{#{anchor}}}\n:   {_text(said)}\n\n"
    for below in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from _help(command.get_command(context, below), f"{called} {below}", level + 1)


def _examples(epilog: str) -> str:
    """What stands under a command's help: indented commands as one block, the rest as sentences."""
    parts = re.sub(r"^(Example:) +", r"\1\n\n  ", epilog.strip("\n")).split("\n\n")
    said = []
    for typed, some in groupby(parts, key=lambda part: part.startswith("  ")):
        if typed:
            commands = "\n".join(dedent(part).rstrip() for part in some)
            said.append(f"```sh\n{commands}\n```\n\n")
        else:
            said += [f"{_text(part)}\n\n" for part in some if part.strip()]
    return "".join(said)


def _text(said: str | None) -> str:
    """Help as Markdown: nothing in it is markup."""
    plain = escape(" ".join((said or "").split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]#])", r"\\\1", plain)
