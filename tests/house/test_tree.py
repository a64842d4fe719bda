"""The tree keeps its own rules: sizes, words, hosts, documents in step with the code."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import farebox
from farebox import errors

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(ROOT.joinpath("src").rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
SAYS_WHY = re.compile(r"\b(long|lines)\b.*(:|because)", re.IGNORECASE)
REFUSAL_CODE = re.compile(r'(?:code=|bad_request\()"([A-Z_]+)"')
LINK = re.compile(r"""!?\[[^\]]*\]\(\s*<?([^)\s>]+)|<(?:img|a|source)\b[^>]*?(?:src|href|srcset)=["']([^"'\s]+)""")
REGISTRIES = ("pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "deb." + "debian")


def _tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_long_file_says_why_in_its_first_line() -> None:
    silent = []
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > FILE_LINES_MAX and not SAYS_WHY.search(lines[0]):
            silent.append(f"{path.relative_to(ROOT)}: {len(lines)} lines")
    assert not silent, silent


def test_a_long_function_says_why_in_its_first_line() -> None:
    silent = []
    for path in SOURCES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for node in _functions(path):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            head = " ".join(lines[node.lineno - 1 : node.body[0].lineno + 1])
            if length > FUNCTION_LINES_MAX and not SAYS_WHY.search(head):
                silent.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length} lines")
    assert not silent, silent


def test_no_commit_names_a_package_registry() -> None:
    named = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        named += [f"{path.relative_to(ROOT)}: {host}" for host in REGISTRIES if host in text]
    assert not named, named


def _codes(error: type[errors.FareboxError]) -> set[str]:
    return {error.code}.union(*(_codes(sub) for sub in error.__subclasses__()))


def test_every_error_code_is_explained() -> None:
    page = ROOT.joinpath("docs/errors.md").read_text(encoding="utf-8")
    importlib.import_module("farebox.demo.processes")
    codes = _codes(errors.FareboxError) - {"FAREBOX_ERROR"}
    for path in ROOT.joinpath("src/farebox/gateway").glob("*.py"):
        codes |= set(REFUSAL_CODE.findall(path.read_text(encoding="utf-8")))
    assert len(codes) > 40, "the refusals were not found"
    assert not [code for code in sorted(codes) if f"`{code}`" not in page]


@pytest.mark.parametrize(("name", "maker"), [("configuration", "configuration_page"), ("metrics", "metrics_page")])
def test_a_page_that_is_made_from_the_source_is_in_step_with_it(name: str, maker: str) -> None:
    scope: dict[str, object] = {"__name__": "generate_docs", "__file__": str(ROOT / "tools/generate_docs.py")}
    exec(compile(ROOT.joinpath("tools/generate_docs.py").read_text(), "generate_docs", "exec"), scope)
    page = scope[maker]
    assert callable(page)
    assert ROOT.joinpath(f"docs/{name}.md").read_text(encoding="utf-8") == page(), (
        "stale: run .venv/bin/python tools/generate_docs.py"
    )


def test_the_tests_run_on_the_built_wheel() -> None:
    installed = Path(farebox.__file__).resolve()
    if ROOT.joinpath("src") in installed.parents:
        pytest.skip("the source tree is on the path; `make test` installs the wheel")
    assert "site-packages" in installed.parts
    assert installed.parent.joinpath("py.typed").exists()


def test_the_tests_that_the_guarantees_name_exist() -> None:
    page = ROOT.joinpath("docs/guarantees.md").read_text(encoding="utf-8")
    tests = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.joinpath("tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 15
    assert not [name for name in sorted(named) if f"def {name}(" not in tests]
    assert not [path for path in re.findall(r"`(tests/[\w/]+\.py)`", page) if not ROOT.joinpath(path).is_file()]


def test_each_promise_says_its_exceptions_its_proof_and_what_was_broken_to_see_it_fail() -> None:
    page = ROOT.joinpath("docs/guarantees.md").read_text(encoding="utf-8")
    sections = {part[:2]: part for part in re.split(r"^## ", page, flags=re.MULTILINE) if re.match(r"G\d ", part)}
    assert sorted(sections) == [f"G{number}" for number in range(1, 9)]
    missing = []
    for promise, section in sections.items():
        rows = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
        missing += [f"{promise}: {kind}" for kind in ("Exceptions", "Proof", "Broken") if not _of_kind(rows, kind)]
        proven = re.findall(r"`test_\w+`|tests/[\w/]+", " ".join(_of_kind(rows, "Proof")))
        missing += [] if proven else [f"{promise}: a test"]
        for row in _of_kind(rows, "Broken"):
            for part in row.split("->")[1:]:
                went_red = re.search(r"`test_\w+`|`tests/[\w/]+\.py`", part.partition(";")[0])
                missing += [] if went_red else [f"{promise}: the test that went red after ->{part[:60]}"]
        missing += [] if any("->" in row for row in _of_kind(rows, "Broken")) else [f"{promise}: line -> test"]
    assert not missing, missing


def _of_kind(rows: list[str], kind: str) -> list[str]:
    """The rows of a promise that begin with a word."""
    return [row for row in rows if row.startswith(kind)]


def _headings(path: Path) -> set[str]:
    """The anchors of a page, as sites that render Markdown make them of its headings."""
    found = re.findall(r"^#+ +(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_link_and_image_between_the_documents_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted(ROOT.joinpath("docs").rglob("*.md"))]
    found, dead = 0, []
    for page in pages:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for markdown, tag in LINK.findall(text):
            link = markdown or tag
            if re.match(r"[a-z]+:", link):
                continue
            found += 1
            name, _, anchor = link.partition("#")
            target = page.parent.joinpath(name) if name else page
            if not target.exists() or (anchor and anchor not in _headings(target)):
                dead.append(f"{page.relative_to(ROOT)}: {link}")
    assert found > 20, "the links were not found"
    assert not dead, dead
