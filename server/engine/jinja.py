"""A Jinja environment like that of `transformers.utils.chat_template_utils`."""

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """The block `generation`, which transformers puts around an answer; renders its content."""

    tags = {"generation"}  # noqa: RUF012  (jinja2's own type)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the nodes between `generation` and `endgeneration`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def environment() -> Environment:
    """Return an environment that parses the same templates as that of transformers."""
    return ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
