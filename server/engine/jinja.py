"""Jinja as transformers sets it up for chat templates."""

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """transformers' block around what the model says; it renders as its content."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The nodes between `generation` and `endgeneration`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> Environment:
    """An environment that parses what transformers' does."""
    return ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
