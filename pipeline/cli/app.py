"""Typer as this program uses it: commands in groups, each with an example in its help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from pipeline.settings.errors import ConfigError

RUNS: Final = "Runs"
MODELS: Final = "Models"
REVIEW: Final = "Review"
CLUSTER: Final = "Kubeflow Pipelines and Vertex AI"
MAINTENANCE: Final = "Maintenance"

_PLAIN: Final = {
    "Value error, ": "",
    "Input should be a valid integer, unable to parse string as an integer": "expected an integer",
    "Input should be a valid number, unable to parse string as a number": "expected a number",
    "Input should be greater than or equal to": "the minimum is",
    "Input should be less than or equal to": "the maximum is",
}
"""Typer's messages are pydantic's; plain words for those that the commands can cause."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _hide_type_of_flags(parameters: list[Any]) -> list[Any]:
    """Typer would print "<bool>" beside an option that takes no value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class _Command(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """As typer; a name without its option is explained, and mistakes are in plain words."""
        options = [name for parameter in self.params for name in parameter.opts]
        takes_names = any(parameter.param_type_name == "argument" for parameter in self.params)
        is_config = "--config" in options and "--config" not in args and not takes_names
        if is_config and args and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise ConfigError(f"unexpected argument {args[0]}; did you mean --config {args[0]}?")
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            message = error.message
            for theirs, ours in _PLAIN.items():
                message = message.replace(theirs, ours)
            raise typer.BadParameter(message, error.ctx, error.param) from error

    def get_params(self, ctx: Any) -> list[Any]:
        return _hide_type_of_flags(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _hide_type_of_flags(super().get_params(ctx))


class App(typer.Typer):
    """A group of commands; the arguments are those of `typer.Typer`."""

    def __init__(self, **options: Any):
        super().__init__(cls=_Group, pretty_exceptions_enable=False, **options)

    def add_command(
        self, name: str | None = None, *, group: str | None = None, example: str, **options: Any
    ) -> Callable[[_Function], _Function]:
        """A decorator that adds a command.

        Args:
          name: its name; that of the function by default.
          group: the group in the list of commands.
          example: a complete command line.
          **options: those of `typer.Typer.command`.
        """
        return self.command(
            name, cls=_Command, rich_help_panel=group, epilog=f"Example: {example}", **options
        )
