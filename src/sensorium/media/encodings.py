"""In which of the encodings from before Unicode a text is written: by the letters that its language uses most.

Most bytes are letters in most of these encodings; only in the right one are they the common letters of a language, in
words of one alphabet. Guessers of general use, charset-normalizer among them, know those of Asia well and mix up those
of Europe where a file is short.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product

Letters = frozenset[str]

_SAMPLE_BYTES = 2**14  # of lines that are not ASCII; more would tell nothing new
_NO_LETTERS = re.compile("[\x00-\x7f\xa0«»‘’‚“”„†•…‹›–—°♪♫、。〈〉《》「」『』・！（），：；？～￼]")
_SOUND = 0.75  # the share of damaged UTF-8 that still is UTF-8; of no other text is it a half
_CREDIT = 0.3  # of a character that is no common one, but has a place among those that a standard has for daily use

# The letters beside ASCII by which a language is known, one row a language, and where else than in UTF-8 it is written.
# Where two rows fit alike, the first is taken: the letters are then the same in both, or nothing tells.
_LATIN = (
    ("äöüß", ("cp1252",)),  # German
    ("éèêëàâçîïôùûüœ", ("cp1252",)),  # French
    ("áéíóúüñ¿¡", ("cp1252",)),  # Spanish
    ("ãõáâàéêíóôúç", ("cp1252",)),  # Portuguese
    ("àèéìòù", ("cp1252",)),  # Italian
    ("åäöæøé", ("cp1252",)),  # Danish, Finnish, Norwegian, Swedish
    ("çğıöşüâ\u0307", ("cp1254",)),  # Turkish; the dot is of a small İ
    ("áéíóúýæöðþ", ("cp1252",)),  # Icelandic
    ("ąćęłńóśźż", ("cp1250", "iso8859-2")),  # Polish
    ("áčďéěíňóřšťúůýž", ("cp1250", "iso8859-2")),  # Czech
    ("áäčďéíĺľňóôŕšťúýž", ("cp1250", "iso8859-2")),  # Slovak
    ("áéíóöőúüű", ("cp1250",)),  # Hungarian
    ("čćđšž", ("cp1250", "iso8859-2")),  # Croatian, Slovene
    ("ăâîşţ", ("cp1250",)),  # Romanian
)
_OTHER_ALPHABETS = (
    ("оеаинтсрвлкмдпуяыьгз", ("cp1251", "koi8-r")),  # Russian
    ("оаиіенвртсклдумпяьїє", ("cp1251",)),  # Ukrainian
    ("аиоетнрсвлпкдмзуяъгб", ("cp1251",)),  # Bulgarian
    ("αοιετσνηυρπκμλςάίέόήώύ", ("cp1253",)),  # Greek
    ("יוהלאתרבשמנםדקעחכפןג", ("cp1255",)),  # Hebrew
    ("اليمونرتبةعدسفهكقأحج", ("cp1256",)),  # Arabic
)
# Those of everyday talk; and the lead bytes of all that a standard has for daily use.
_ASIAN = (
    ("的一是不了我在人有他这你们来到说去会那就么好没要还什为吗吧呢看得都知道怎想上下个地时对出可以也过里后和很谁今天气问题大中"
     "样做能给她点事真谢请走快回家现起自己让只把被跟", "gb18030", "gb2312", (0xB0, 0xD8)),  # Chinese, simplified
    ("的一是不了我在人有他這你們來到說去會那就麼好沒要還什為嗎吧呢看得都知道怎想上下個地時對出可以也過裡後和很誰今天氣問題大中"
     "樣做能給她點事真謝請走快回家現起自己讓只把被跟", "big5", "big5", (0xA4, 0xC7)),  # Chinese, traditional
    ("あいうえおかがきくけげこごさしじすずせそただちっつてでとどなにねのはばひびぶべまみむめもやゃゆよょらりるれろわをん"
     "アイウエオカキクケコサシスセソタチッテトナニハバパフプマミムメャュョラリルレロワンードジグ",
     "cp932", "shift_jis", (0x82, 0x98)),  # Japanese
    ("あいうえおかがきくけげこごさしじすずせそただちっつてでとどなにねのはばひびぶべまみむめもやゃゆよょらりるれろわをん"
     "アイウエオカキクケコサシスセソタチッテトナニハバパフプマミムメャュョラリルレロワンードジグ",
     "euc_jp", "euc_jp", (0xA4, 0xD0)),  # Japanese
    ("이다는을가에고지어나하아도그의를한사있은게서로거내리네기자안라니너해데시일우요정만수여보면야무마오제당것들말대으인왜전부주좋"
     "잘없신생세알까습죠러했었간미모저할음봐구", "cp949", "euc_kr", (0xB0, 0xC9)),  # Korean
)  # fmt: skip
_NAMES = {
    "utf-8": "UTF-8", "cp1252": "Windows-1252", "cp1250": "Windows-1250", "iso8859-2": "ISO 8859-2",
    "cp1254": "Windows-1254", "cp1251": "Windows-1251", "koi8-r": "KOI8-R", "cp1253": "Windows-1253",
    "cp1255": "Windows-1255", "cp1256": "Windows-1256", "gb18030": "GB 18030", "big5": "Big5", "cp932": "Shift-JIS",
    "euc_jp": "EUC-JP", "cp949": "EUC-KR",
}  # fmt: skip


def old_encoding(data: bytes) -> tuple[str, str]:
    """The encoding of a text that is not sound UTF-8, as Python and as people call it.

    Windows' Latin where nothing speaks for another one; UTF-8 where all but a little of it is.
    """
    sample = b"\n".join(line for line in data.splitlines() if not line.isascii())[:_SAMPLE_BYTES]
    decoded = {name: sample.decode(name, errors="replace") for name in _NAMES}
    found = [("utf-8", 1.0 if _soundness(decoded["utf-8"]) > _SOUND else -1.0)]
    for rows, is_of in ((_LATIN, _is_latin), (_OTHER_ALPHABETS, _is_of_another)):
        for letters, names in rows:
            for name in names:
                words = [word for word in re.findall(r"\w+|[^\w\s]", decoded[name]) if not word.isascii()]
                fitting = [word for word in words if is_of(word) and _has_one_case(word)]
                found.append((name, _share(frozenset(letters), "".join(fitting), "".join(words))))
    for common, name, standard, leads in _ASIAN:
        usual = _share(_characters(standard, *leads), decoded[name], decoded[name])
        share = _share(frozenset(common), decoded[name], decoded[name])
        found.append((name, share + _CREDIT * (usual - share)))
    best, _ = max(found, key=lambda one: one[1])
    return best, _NAMES[best]


def _soundness(text: str) -> float:
    strange = _NO_LETTERS.sub("", text)
    return 1 - strange.count("\ufffd") / len(strange) if strange else 0.0


def _share(letters: Letters, fitting: str, text: str) -> float:
    """Of what a text has beside ASCII and punctuation, the letters in the fitting part of it, 0-1; 1 where it has
    nothing, as nothing in it is out of place."""
    strange, fit = (_NO_LETTERS.sub("", one.lower()) for one in (text, fitting))
    return sum(one in letters for one in fit) / len(strange) if strange else 1.0


def _is_latin(word: str) -> bool:
    return not re.search("[^\x00-\x7f]{3}", word)


def _is_of_another(word: str) -> bool:
    return not re.search("[A-Za-z]", word)


def _has_one_case(word: str) -> bool:
    """But for a capital at the beginning."""
    return word[1:].islower() or word.isupper() or word[1:] == word[1:].lower()


@cache
def _characters(standard: str, first: int, end: int) -> Letters:
    """Those of two bytes with these lead bytes."""
    pairs = (bytes(pair) for pair in product(range(first, end), range(0x40, 0xFF)))
    return frozenset("".join(pair.decode(standard, errors="ignore") for pair in pairs))
