"""The command's verbs put together."""

from __future__ import annotations

from typing import Annotated

import typer

from openamp.cli import boards, echo_test, inspect, run, sample, version
from openamp.cli.common import EXIT_CODES_HELP

__all__ = ["app"]

app = typer.Typer(
    name="openamp",
    help="Boot a remote processor's firmware, talk to it over RPMsg, and shut it down.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("inspect")(inspect.inspect)
app.command("run")(run.run)
app.command("echo-test")(echo_test.echo_test)
app.command("sample")(sample.sample)
app.command("boards")(boards.boards)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", "-V", help="Show the versions of the package and what it runs on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --version: print one JSON document.")] = False,
) -> None:
    """Boot a remote processor's firmware, talk to it over RPMsg, and shut it down."""
    if show_version:
        version.version(as_json)
        raise typer.Exit
    if as_json:
        raise typer.BadParameter("give --json behind the verb, as in: openamp boards --json")
    if context.invoked_subcommand is None:
        raise typer.BadParameter("name a verb; openamp --help lists them")
