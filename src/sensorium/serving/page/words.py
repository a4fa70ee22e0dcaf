"""What the page says, in English and in Chinese. Gradio picks by the browser's language, and so does `language_of`."""

from __future__ import annotations

ENGLISH = {
    "ask": "Ask about a picture",
    "ask_words": "Ask something",
    "conversation": "Conversation",
    "empty": "Drop, paste or pick a picture and ask about it, or try one of these",
    "empty_words": "This model reads and writes words.",
    "settings": "Settings",
    "engine": "Engine",
    "form": "Form of the answer",
    "free": "Free",
    "yes_no": "Yes or no",
    "boxes": "Boxes",
    "temperature": "Temperature",
    "top_p": "Top p",
    "max_tokens": "Most tokens",
    "seed": "Seed",
    "last_reply": "Last reply",
    "new": "New conversation",
    "export_json": "Save as JSON",
    "export_markdown": "Save as Markdown",
    "sees": "Answers in words about pictures; one picture costs {visual} of {context} tokens.",
    "reads": "Answers in words; a conversation has room for {context} tokens.",
    "thinking": "Reading the question …",
    "waiting": "Waiting: others are being answered …",
    "loading": "Loading {engine}: {what}",
    "length": "Cut off after {tokens} tokens; allow more in the settings.",
    "stopped": "Stopped.",
    "nothing_yet": "Tokens and speed appear here.",
    "reply_tokens": "Reply",
    "speed": "Speed",
    "first_token": "First word after",
    "prompt_tokens": "Conversation",
    "picture_tokens": "of it pictures",
    "cached_tokens": "of it read before",
    "tokens": "{n} tokens",
    "per_second": "{n} tokens/s",
    "seconds": "{n} s",
    "pictures_cost": "{n} tokens ({pictures} × {visual})",
    "no_question": "Write a question.",
    "no_pictures": "This model does not see pictures.",
    "too_much": "The pictures of this conversation are larger than {limit} MB together. Begin a new conversation.",
    "too_long": "A question has at most {most} characters.",
    "expired": "A picture of this conversation is no longer kept. Begin a new conversation.",
    "cannot_answer": "No answer.",
    "timeout": "The reply took longer than {seconds} s.",
    "failed": "The server failed at this question.",
    "nothing_said": "Nothing has been said yet.",
    "picture": "picture",
    "you": "You",
    "sign_in": "This server wants a key",
    "key": "Key",
    "enter": "Enter",
    "wrong_key": "This is not the right key.",
}

CHINESE = {
    "ask": "就图片提问",
    "ask_words": "请输入问题",
    "conversation": "对话",
    "empty": "拖入、粘贴或选择一张图片并提问，或试试下面的例子",
    "empty_words": "这个模型只读写文字。",
    "settings": "设置",
    "engine": "引擎",
    "form": "回答形式",
    "free": "自由",
    "yes_no": "是或否",
    "boxes": "方框",
    "temperature": "温度",
    "top_p": "Top p",
    "max_tokens": "最大词元数",
    "seed": "随机种子",
    "last_reply": "上一个回答",
    "new": "新对话",
    "export_json": "保存为 JSON",
    "export_markdown": "保存为 Markdown",
    "sees": "看图回答问题；每张图片占 {visual} 个词元（上限 {context}）。",
    "reads": "用文字回答问题；一次对话最多 {context} 个词元。",
    "thinking": "正在读题……",
    "waiting": "排队中：正在回答其他人……",
    "loading": "正在加载 {engine}：{what}",
    "length": "回答在 {tokens} 个词元后被截断；可在设置中调高“最大词元数”。",
    "stopped": "已停止。",
    "nothing_yet": "这里会显示词元数和速度。",
    "reply_tokens": "回答",
    "speed": "速度",
    "first_token": "首词用时",
    "prompt_tokens": "对话",
    "picture_tokens": "其中图片",
    "cached_tokens": "其中已读过",
    "tokens": "{n} 个词元",
    "per_second": "{n} 词元/秒",
    "seconds": "{n} 秒",
    "pictures_cost": "{n} 个词元（{pictures} × {visual}）",
    "no_question": "请输入问题。",
    "no_pictures": "这个模型不能看图片。",
    "too_much": "这次对话的图片合计超过 {limit} MB。请开始新对话。",
    "too_long": "问题最多 {most} 个字符。",
    "expired": "这次对话的一张图片已不再保存。请开始新对话。",
    "cannot_answer": "无法回答。",
    "timeout": "回答用时超过了 {seconds} 秒。",
    "failed": "服务器未能回答这个问题。",
    "nothing_said": "还没有对话内容。",
    "picture": "图片",
    "you": "你",
    "sign_in": "此服务器需要密钥",
    "key": "密钥",
    "enter": "进入",
    "wrong_key": "密钥不正确。",
}

LANGUAGES = {"en": ENGLISH, "zh": CHINESE}
# The Chinese that Gradio itself knows; a browser in another one gets English from it, so it gets English from us.
_CHINESE_LOCALES = ("zh-CN", "zh-TW")
TRANSLATIONS = {"en": ENGLISH} | dict.fromkeys(_CHINESE_LOCALES, CHINESE)


def language_of(accepted: str) -> str:
    """The page's language from an Accept-Language header: that of its first entry, as the browser's own choice is."""
    first = accepted.partition(",")[0].partition(";")[0].strip()
    return "zh" if first in _CHINESE_LOCALES else "en"


def say(language: str, key: str, **values: object) -> str:
    """A text of the page with its values put in."""
    return LANGUAGES[language][key].format(**values)
