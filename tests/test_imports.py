"""Imports run one way, downwards, as the imports themselves say."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "twofold"
FLOORS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"papers"},
    {"report", "deploy"},
    {"tasks"},
    {"train", "data", "saving"},
    {"discover"},
    {"convert", "models"},
    {"forms"},
    {"layers"},
    {"scan"},
    {"atomic", "compiled", "memory", "sealed"},
    {"errors", "starting"},
]
"""The rooms of the house, from the top floor to the ground. A room imports from lower floors and from itself."""
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(module: tuple[str, ...]) -> str:
    return module[1]


def imported_modules(file: Path) -> set[tuple[str, ...]]:
    """The modules of twofold that a file imports, at its top or inside of functions, as tuples of names."""
    package = ("twofold", *file.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {tuple(name.name.split(".")) for name in node.names if name.name.split(".")[0] == "twofold"}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = (*above, *(node.module.split(".") if node.module else ()))
            if module[:1] == ("twofold",):
                found |= {module} if len(module) > 1 else {(*module, name.name) for name in node.names}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_room_and_from_those_below(file):
    own = file.relative_to(PACKAGE).with_suffix("").parts[0]
    for module in imported_modules(file):
        other = room_of(module)
        assert other == own or FLOOR[other] > FLOOR[own], f"{own} imports {'.'.join(module)}, which is not below it"


def test_every_room_has_a_floor():
    rooms = {file.relative_to(PACKAGE).with_suffix("").parts[0] for file in FILES}
    assert rooms == FLOOR.keys()


def test_private_modules_are_imported_in_their_own_package_alone():
    for file in FILES:
        for module in imported_modules(file):
            private = [n for n, part in enumerate(module) if part.startswith("_") and part != "__main__"]
            for n in private:
                inside = module[1:n]
                assert file.relative_to(PACKAGE).parts[: len(inside)] == inside, f"{file} imports {'.'.join(module)}"


def test_an_upward_import_is_noticed(tmp_path):
    file = PACKAGE / "scan" / "_loop.py"
    assert imported_modules(file) == {("twofold", "scan", "_varying"), ("twofold", "scan", "plain")}
