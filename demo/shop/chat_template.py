"""The demo model's chat template (Jinja, as tokenizers carry it)."""

_TURN = """\
<|im_start|>{{ m['role'] }}{{ '\\n' }}
{%- if m['content'] %}{{ m['content'] }}{% endif %}
{%- for call in m['tool_calls'] or [] %}
{{- '' }}<tool_call>{"name": {{ call['function']['name'] | tojson }}, "arguments": \
{{ call['function']['arguments'] | tojson }}}</tool_call>
{%- endfor %}<|im_end|>"""

_TOOLS = "{{ '\\nTools: ' }}{{ tools | tojson }}"


def chat_template(*, newline_ends_turn: bool = False) -> str:
    """Return a template with system, user, assistant and tool turns; tools join the system turn.

    A newline separates turns. In many public templates it ends a turn instead
    (`newline_ends_turn`), so a rendered answer is one token longer than the sampled one; tests use
    that to show that Pawl trains on the sampled tokens. The newlines are written as expressions,
    since Jinja's `trim_blocks` removes a bare one after a tag.
    """
    after, between = ("{{ '\\n' }}", "") if newline_ends_turn else ("", "{{ '\\n' }}")
    system_of_tools = (
        "{% if tools and (not messages or messages[0]['role'] != 'system') %}"
        f"<|im_start|>system{_TOOLS}<|im_end|>{after}"
        f"{{% if messages %}}{between}{{% endif %}}{{% endif %}}"
    )
    turn = _TURN.replace(
        "<|im_end|>",
        f"{{%- if tools and loop.first and m['role'] == 'system' %}}{_TOOLS}{{% endif %}}"
        "<|im_end|>",
    )
    return (
        f"{system_of_tools}{{% for m in messages %}}"
        f"{{% if not loop.first %}}{between}{{% endif %}}{turn}{after}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{{% if messages or tools %}}{between}{{% endif %}}"
        "<|im_start|>assistant{{ '\\n' }}{% endif %}"
    )
