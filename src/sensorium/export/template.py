"""A chat template in Jinja that renders what our renderer renders, around any language model's own template.

The renderer gives the model's template a mark for each text and picture, and puts words and slots where the marks come
out; the next reply begins where an empty answer's mark would stand (see `rendering.template`). This template does the
same: so a template that trims, or whose generation prompt differs from what was trained on, still asks as trained.
"""

from __future__ import annotations

from sensorium.model.multimodal import IMAGE_CLOSE, IMAGE_OPEN, SLOT

# `said`: messages with marks for words, and the words. No whitespace of these lines is printed.
_BEFORE = r"""
{%- set said = namespace(messages=[], words=[], text='') %}
{%- for message in messages %}
{%- set turn = namespace(parts=[], marks='') %}
{%- if message['content'] is string %}
{%- set turn.parts = [{'type': 'text', 'text': message['content']}] %}
{%- else %}
{%- for part in message['content'] %}
{%- set turn.parts = turn.parts + [part] %}
{%- endfor %}
{%- endif %}
{%- for part in turn.parts or [{'type': 'text', 'text': ''}] %}
{%- set turn.marks = turn.marks ~ '\U000f0000' ~ (said.words | length) ~ '\U000f0001' %}
{%- set said.words = said.words + ['PICTURE' if part['type'] == 'image' else WORDS] %}
{%- endfor %}
{%- set said.messages = said.messages + [{'role': message['role'], 'content': turn.marks}] %}
{%- endfor %}
{%- set is_asked = add_generation_prompt %}
{%- if is_asked %}
{%- set mark = '\U000f0000' ~ (said.words | length) ~ '\U000f0001' %}
{%- set said.words = said.words + [''] %}
{%- set said.messages = said.messages + [{'role': 'assistant', 'content': mark}] %}
{%- endif %}
{%- set messages = said.messages %}
{%- set add_generation_prompt = false %}
{%- set text %}
"""

_AFTER = r"""{%+ endset %}
{%- set said.text = text %}
{%- for words in said.words %}
{%- set halves = said.text.split('\U000f0000' ~ loop.index0 ~ '\U000f0001', 1) %}
{{- halves[0] ~ words }}
{%- set said.text = halves[1] %}
{%- endfor %}
{%- if not is_asked %}
{{- said.text }}
{%- endif %}"""


def chat_template(own: str, boundary: str = "", prefix: str = "") -> str:
    """The template around a language model's own. A picture is printed with one slot, which a processor multiplies.

    boundary: printed before and after all words; prefix: before words that do not begin with it. See `llava`.
    For transformers' environment (`trim_blocks`, `lstrip_blocks`), in which the own template's text stays as it is.
    """
    words = "part['text']"
    if boundary:
        space = f"('' if {words}.startswith('{prefix}') else '{prefix}')"
        words = f"('{boundary}' ~ {space} ~ {words} ~ '{boundary}' if {words} else '')"
    before = _BEFORE.removeprefix("\n").replace("WORDS", words)
    picture = f"{IMAGE_OPEN}{SLOT}{IMAGE_CLOSE}"
    # Jinja drops one line break at a template's end, the own one's as well.
    return before.replace("PICTURE", picture) + own.removesuffix("\n") + _AFTER
