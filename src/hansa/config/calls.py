"""Pieces as Python writes them: FedProx, or FedProx(mu=0.1), is the table {use = "FedProx", mu =
0.1}.

A text is read, not run: names, numbers, texts, lists and further calls of this kind are all that
there is in it.
"""

from __future__ import annotations

import ast
from typing import Any

from ..errors import AppError, message
from .parse import check

LITERALS = (ast.Constant, ast.UnaryOp, ast.Tuple, ast.List)


def is_call(text: str) -> bool:
    """Does it look like a call: a name, and parentheses to the end?"""
    name, opened, rest = text.partition("(")
    return bool(opened) and name.strip().isidentifier() and rest.rstrip().endswith(")")


def table_of(text: str) -> dict[str, Any]:
    """The table of a piece that is written as Python writes it; AppError for anything else.

    Clip(norm=1.0)              {"use": "Clip", "norm": 1.0}
    Scaffold(server=Adam)       {"use": "Scaffold", "server": {"use": "Adam"}}
    """
    try:
        found = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise AppError(
            f"{text!r} is no piece.",
            f"As Python it is wrong: {message(error)}",
            "Write for example FedProx(mu=0.1).",
        ) from None
    if not isinstance(found, ast.Name | ast.Call):
        raise _no_piece(text)
    try:
        table: dict[str, Any] = _value(found, text)
        check(table)
    except (ValueError, RecursionError) as error:
        raise AppError(
            f"A piece of {len(text)} characters cannot be read.",
            f"{str(error).capitalize()}.",
            "Write a shorter one.",
        ) from None
    return table


def _value(node: ast.expr, text: str) -> Any:
    """What a node stands for: a table for a name and a call, else the value itself."""
    if isinstance(node, ast.Name):
        return {"use": node.id}
    if isinstance(node, ast.Tuple | ast.List):
        return [_value(one, text) for one in node.elts]
    if not isinstance(node, ast.Call):
        return _literal(node, text)
    if not isinstance(node.func, ast.Name):
        raise _no_piece(text)
    if node.args or any(one.arg is None for one in node.keywords):
        raise AppError(
            f"{text!r} has an argument without a name.",
            "Settings are told apart by their names.",
            "Write for example FedProx(mu=0.1).",
        )
    given = {str(one.arg): _value(one.value, text) for one in node.keywords}
    return {"use": node.func.id, **given}


def _literal(node: ast.expr, text: str) -> Any:
    """A number, a text, True or False."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        raise _no_piece(text) from None
    if not isinstance(value, bool | int | float | str):
        raise _no_piece(text)
    return value


def _no_piece(text: str) -> AppError:
    """The error for what has another form; returned, so that the caller says where."""
    return AppError(
        f"{text!r} is no piece.",
        "A piece is a name, or a name with settings in parentheses: numbers, texts, True and "
        "False, lists, and pieces.",
        "Write for example FedProx(mu=0.1).",
    )
