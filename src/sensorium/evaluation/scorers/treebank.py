"""Words of a caption as the COCO evaluation counts them: split as the Penn Treebank is, lower case, no punctuation.

The official evaluation starts a Java program for this (Stanford's PTBTokenizer 3.4.1), then drops the tokens of a list
of punctuation marks. What is here splits the same way without Java: clitics (`do n't`, `it 's`), cannot and its like,
brackets as names (lower-case ones survive the list, which holds upper-case ones), abbreviations with their period,
numbers, hyphens and slashes inside words. It differs where Java's rules look at whole phrases or know rare things:
phone numbers, dates in words, most smileys, abbreviations that are not in the list below. `docs/evaluate.md` says how
often that was found to matter.
"""

from __future__ import annotations

import re

DROPPED = frozenset({'"', "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"})

# They keep their period, whatever follows: titles, months, days, states, companies, places and the like.
_ABBREVIATION_LIST = """
    mr mrs ms dr drs prof gen col lt sgt capt cpl maj rev hon gov sen rep pres adm messrs st ste ave blvd rd jr sr ft
    inc co corp ltd bros jan feb apr jun jul aug sep sept oct nov dec tue tues wed thu thurs fri ala ariz calif colo
    conn fla ga ind kan ky md mich minn mo mont neb nev okla ore pa penn tenn tex va vt wis wyo etc vs al esp approx
    dept est bldg univ assn
"""
_ABBREVIATIONS = frozenset(_ABBREVIATION_LIST.split())

_SPLIT = {
    "cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me", "lemme": "lem me",
    "'tis": "'t is", "'twas": "'t was", "d'ye": "d' ye", "y'all": "y' all",
}  # fmt: skip
_NAMES = {
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-", "£": "#", "€": "$",
    "¢": "cents", "…": "...", "½": "1/2", "¼": "1/4", "¾": "3/4",
}  # fmt: skip
_UNIFIED = str.maketrans({"’": "'", "‘": "`", "“": '"', "”": '"', "–": "-", "—": "-"})

# What a sentence often begins with: before it, a single letter with a period ends the one before ("at point B. The").
_STARTERS = "a an the this that these those there it its he she they we you i in on at and but for if to as each both"

_CLITIC = r"(?:n't|'(?:s|m|d|re|ve|ll))"
_LETTER = r"[^\W\d_]"
_INSIDE = r"[^\W_²³¹₀-₉½¼¾]"  # of a word; raised and lowered digits and fractions stand alone
_TOKEN = re.compile(
    rf"""
      https?://\S+ | \b[\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+ | @\w+ | </?[a-z][^<>]*>
    | '(?:em|cause|tis|twas|n'|\d\ds)(?!\w) | {_CLITIC}(?!\w)
    | (?P<acronym>(?:{_LETTER}\.){{2,}}(?!\w) | ph\.d\. | {_LETTER}\.(?=\ \w)(?!\ (?:{"|".join(_STARTERS.split())})\b))
    | [-+]?\.?(?>\d+(?:[:/.,]\d+)*)(?![\w²³]|[-/']\w)
    | (?P<word>{_INSIDE}+(?:['_./&-]{_INSIDE}+)*)
    | \.{{3,}} | [?!]+ | --+ | \*+ | \S
    """,
    re.X | re.I,
)
_ENDING = re.compile(rf"(?P<stem>.+?)(?P<clitic>{_CLITIC})$")
_DASHES = re.compile(r"-{2,5}")  # longer rules stay, as they do in Java


def words_of(caption: str) -> list[str]:
    """Tokens without punctuation, in lower case."""
    return [token for token in tokens_of(caption) if token not in DROPPED and not _DASHES.fullmatch(token)]


def tokens_of(caption: str) -> list[str]:
    """All tokens, in lower case."""
    text = caption.replace("\n", " ").replace("&amp;", "&").translate(_UNIFIED).lower()
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        if match["word"]:
            found += _of_word(match["word"], text[match.end() : match.end() + 1] == ".")
        else:
            found.append(_NAMES.get(match[0], match[0]))
    return found


def _of_word(word: str, has_period: bool) -> list[str]:
    if word in _SPLIT:
        return _SPLIT[word].split()
    if ending := _ENDING.match(word):
        return [*_of_word(ending["stem"], False), ending["clitic"]]
    return [f"{word}." if has_period and word in _ABBREVIATIONS else word]
