"""Colours, type and spacing of the page, and the few lines of script that Gradio has no widget for."""

from __future__ import annotations

from pathlib import Path

from sensorium.serving.page.quiet_gradio import gradio

CSS = Path(__file__).with_name("page.css")
FAVICON = Path(__file__).with_name("favicon.png")

# Fonts that the machine has; Gradio's own themes fetch theirs.
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans SC", "PingFang SC", "Microsoft YaHei",
          "sans-serif")  # fmt: skip
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

_TEAL = gradio.themes.Color(
    c50="#eef7f5", c100="#d8ece8", c200="#b2d9d2", c300="#86c1b8", c400="#56a59a", c500="#2f8a7e", c600="#0f6e66",
    c700="#0d5953", c800="#0e4844", c900="#0e3b38", c950="#062523", name="teal",
)  # fmt: skip
_STONE = gradio.themes.Color(
    c50="#faf9f6", c100="#f4f3ee", c200="#e6e4dc", c300="#d3d0c6", c400="#a5a39a", c500="#75746d", c600="#55554f",
    c700="#3b3e3e", c800="#26292a", c900="#1b1e1f", c950="#141617", name="stone",
)  # fmt: skip

THEME = gradio.themes.Base(
    primary_hue=_TEAL, secondary_hue=_TEAL, neutral_hue=_STONE, font=_FONTS, font_mono=_MONO,
    radius_size="lg", spacing_size="md", text_size="md",
).set(
    body_background_fill="*neutral_100", body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_400",
    input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
    block_background_fill="white", block_background_fill_dark="*neutral_900",
    block_border_width="1px", block_shadow="none", block_label_text_size="*text_sm",
    border_color_primary="*neutral_200", border_color_primary_dark="*neutral_800",
    button_primary_background_fill="*primary_600", button_primary_background_fill_dark="*primary_600",
    button_secondary_background_fill="white", button_secondary_background_fill_dark="*neutral_900",
    button_secondary_border_color="*neutral_300", button_secondary_border_color_dark="*neutral_700",
    input_background_fill="*neutral_50", input_background_fill_dark="*neutral_800",
    slider_color="*primary_600", slider_color_dark="*primary_400",
    color_accent_soft="*primary_50", color_accent_soft_dark="*primary_950",
)  # fmt: skip

ICON = (
    '<svg viewBox="0 0 32 32" width="30" height="30" aria-hidden="true">'
    '<rect width="32" height="32" rx="8" fill="#0f6e66"/>'
    '<path d="M4 16c4-6.5 8-9 12-9s8 2.5 12 9c-4 6.5-8 9-12 9s-8-2.5-12-9z" '
    'fill="none" stroke="#fff" stroke-width="2.2"/>'
    '<circle cx="16" cy="16" r="4.2" fill="#fff"/></svg>'
)

# Pictures may be dropped and pasted anywhere on the page: they are handed to the field where the question is written.
ON_LOAD = """() => {
  const input = () => document.querySelector("#ask input[type=file]");
  const holds = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  const take = (event, given) => {
    if (!given?.length || event.target.closest("#ask") || !input()) return;
    event.preventDefault();
    const files = new DataTransfer();
    for (const file of given) files.items.add(file);
    input().files = files.files;
    input().dispatchEvent(new Event("change", {bubbles: true}));
  };
  document.documentElement.lang = navigator.language;
  document.addEventListener("dragover", (event) => { if (holds(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => take(event, event.dataTransfer?.files));
  document.addEventListener("paste", (event) => take(event, event.clipboardData?.files));
}"""

# The text of a file, from the server to the browser's downloads; takes the file's name.
DOWNLOAD = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/plain"}));
  link.download = "%s";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}"""
