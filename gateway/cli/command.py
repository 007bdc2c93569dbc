"""The tree of commands, and how every one of them ends: 0 done, 1 refused or failed check, 2 wrong usage."""

from __future__ import annotations

import sys

import typer

from gateway.cli import asking, audit, backup, caps, demo, doctor, policy, serving, tokens, witness
from gateway.errors import Fault, Refusal

app = typer.Typer(
    name="bpk",
    help="Baopingkou: data usable, but not visible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (serving, asking, backup, doctor, demo):
    module.add(app)
app.add_typer(serving.sandbox, name="sandbox")
app.add_typer(tokens.group, name="token")
app.add_typer(policy.group, name="policy")
app.add_typer(caps.group, name="caps")
app.add_typer(audit.group, name="audit")
app.add_typer(witness.group, name="witness")


def run() -> None:
    try:
        app()
    except (Fault, Refusal) as problem:
        print(f"bpk: {problem}", file=sys.stderr)
        if isinstance(problem, Refusal) and problem.hint:
            print(f"  {problem.hint}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever reads us has had enough
        sys.stderr.close()
        sys.exit(1)
