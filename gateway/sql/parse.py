"""Text to a syntax tree, within limits. Nothing but a Refusal ever leaves here, whatever the text."""

from __future__ import annotations

import logging
from itertools import pairwise

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.position import position
from sandbox.relational.expressions import Position

# The parser logs the text of statements that it does not know. An operator's text may hold what no log should.
logging.getLogger("sqlglot").disabled = True

_DIALECT = Dialect.get_or_raise("duckdb")
_OPEN = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSE = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
_PREFIX = {TokenType.NOT, TokenType.DASH, TokenType.PLUS, TokenType.TILDE}


def parse(sql: str, limits: SqlLimits) -> exp.Expr:
    """The one statement in `sql`. Raises Refusal sql_too_large or sql_unreadable."""
    _check_text(sql, limits)
    try:
        tokens = _DIALECT.tokenize(sql + "\n")  # after `$name`, it reads `''` at the very end as an open quote
    except TokenError as error:
        start = error.start if error.start is not None else 0
        raise _unreadable("the text breaks off inside a quote or a comment", position(sql, start, start + 1)) from None
    except Exception:  # a fault of the tokenizer on odd text is the text's fault to the caller
        raise _unreadable("the text is not readable as SQL", None) from None
    _check_tokens(sql, tokens, limits)
    try:
        trees = _DIALECT.parser(error_level=ErrorLevel.IMMEDIATE).parse(tokens, sql)
    except ParseError as error:
        raise _parse_refusal(error) from None
    except RecursionError:
        raise Refusal("sql_too_large", "the query is nested too deeply") from None
    except Exception:  # likewise: the parser's own faults are answered as what they are to the caller
        raise _unreadable("the text is not readable as SQL", None) from None
    statements = [tree for tree in trees if tree is not None and type(tree) is not exp.Semicolon]
    if not statements:
        raise _unreadable("there is no statement in the text", None)
    if len(statements) > 1:
        raise Refusal(
            "statement_not_allowed",
            f"one query is one statement, here are {len(statements)}",
            hint="ask each statement as a query of its own",
        )
    return statements[0]


def _check_text(sql: str, limits: SqlLimits) -> None:
    try:
        size = len(sql.encode())
    except UnicodeEncodeError:
        raise _unreadable("the text is not valid Unicode", None) from None
    if size > limits.bytes_max:
        raise Refusal("sql_too_large", f"the text has {size} bytes, {limits.bytes_max} are read at most")
    for offset, character in enumerate(sql):
        if character < " " and character not in "\t\n\r":
            at = position(sql, offset, offset + 1)
            raise _unreadable("the text holds a control character", at)


def _check_tokens(sql: str, tokens: list[Token], limits: SqlLimits) -> None:
    """Refuses deep nesting by counting tokens: the parser recurses in C, where deep stacks are not always caught."""
    if len(tokens) > limits.nodes_max:
        raise Refusal("sql_too_large", f"the query has {len(tokens)} words, {limits.nodes_max} are read at most")
    depth = run = 0
    for token, following in pairwise([*tokens, *tokens[-1:]]):
        kind = token.token_type
        depth += (kind in _OPEN) - (kind in _CLOSE and depth > 0)
        run = run + 1 if kind in _PREFIX else 0
        if kind == TokenType.PIPE_GT:
            at = position(sql, token.start, token.end + 1)
            raise Refusal("construct_not_allowed", "`|>` is not answered", hint="write SELECT … FROM …", at=at)
        if depth > limits.depth_max or run > limits.depth_max:
            at = position(sql, following.start, following.end + 1)
            raise Refusal("sql_too_large", "the query is nested too deeply", at=at)


def _parse_refusal(error: ParseError) -> Refusal:
    details = error.errors[0] if error.errors else {}
    near = str(details.get("highlight") or "")
    line, column = details.get("line"), details.get("col")
    at = None
    if line and column:
        at = Position(int(line), max(1, int(column) - len(near) + 1), max(1, len(near)))
    short = " ".join(near.split())[:40]
    message = f"the text is not readable as SQL near `{short}`" if short else "the text is not readable as SQL"
    return _unreadable(message, at)


def _unreadable(message: str, at: Position | None) -> Refusal:
    return Refusal("sql_unreadable", message, hint="the dialect is DuckDB's; a query is one SELECT", at=at)
